-- SPDX-License-Identifier: Apache-2.0
-- Jobs. Their numbers are never used again, which AUTOINCREMENT sees to.
CREATE TABLE job (
    id INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id > 0),
    type TEXT NOT NULL,
    object TEXT NOT NULL,
    args TEXT NOT NULL,
    state TEXT NOT NULL
        CHECK (state IN ('queued', 'running', 'finishing', 'done', 'cancelled', 'failed')),
    owner TEXT NOT NULL,
    reason TEXT,
    idempotency_key TEXT,
    submitted_ms INTEGER NOT NULL,
    started_ms INTEGER NOT NULL,
    ended_ms INTEGER NOT NULL,
    deadline_ms INTEGER NOT NULL,
    bytes_done INTEGER NOT NULL,
    bytes_total INTEGER NOT NULL,
    step TEXT,
    error TEXT,
    result TEXT,
    CHECK ((state IN ('done', 'cancelled', 'failed')) = (ended_ms > 0)),
    CHECK ((state IN ('cancelled', 'failed')) = (error IS NOT NULL)),
    UNIQUE (owner, idempotency_key)
) STRICT;

ALTER TABLE event ADD COLUMN job INTEGER;
ALTER TABLE event ADD COLUMN object TEXT;
