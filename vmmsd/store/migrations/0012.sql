-- SPDX-License-Identifier: Apache-2.0
-- Keys that clients gave calls which make no job, so that the same call made again does nothing more.
CREATE TABLE call_key (
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    method TEXT NOT NULL,
    args INTEGER NOT NULL,
    object TEXT,
    device TEXT,
    is_done INTEGER NOT NULL CHECK (is_done IN (0, 1)),
    made_ms INTEGER NOT NULL,
    event_seq INTEGER NOT NULL,
    PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;

-- The disk whose image failed since the VM is on, if any.
ALTER TABLE vm ADD COLUMN failing TEXT;
