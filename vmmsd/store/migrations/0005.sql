-- SPDX-License-Identifier: Apache-2.0
-- Key-value pairs that the host gives to a VM's guest, in the order in which they came.
CREATE TABLE pair (
    vm TEXT NOT NULL REFERENCES vm (id) ON DELETE CASCADE,
    place INTEGER NOT NULL CHECK (place BETWEEN 0 AND 127),
    key TEXT NOT NULL CHECK (length(key) > 0),
    value TEXT NOT NULL,
    PRIMARY KEY (vm, place),
    UNIQUE (vm, key)
) STRICT, WITHOUT ROWID;
