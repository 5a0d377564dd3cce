-- SPDX-License-Identifier: Apache-2.0
-- One row: who this host is, and how often the service was started on this database.
CREATE TABLE host (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    host_id TEXT NOT NULL CHECK (length(host_id) = 36),
    epoch INTEGER NOT NULL CHECK (epoch >= 0)
) STRICT;

CREATE TABLE vm (
    id TEXT PRIMARY KEY CHECK (length(id) = 36),
    name TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 100),
    definition TEXT NOT NULL,
    generation INTEGER NOT NULL CHECK (generation > 0),
    state TEXT NOT NULL CHECK (state IN ('off', 'starting', 'running', 'stopping', 'paused')),
    created_ms INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL,
    on_since_ms INTEGER NOT NULL,
    cause TEXT,
    cause_message TEXT,
    exit_status INTEGER,
    incarnation TEXT CHECK (length(incarnation) = 36),
    secret TEXT CHECK (length(secret) = 64),
    pid INTEGER NOT NULL,
    pid_start INTEGER NOT NULL,
    CHECK ((state = 'off') = (incarnation IS NULL)),
    CHECK ((incarnation IS NULL) = (secret IS NULL))
) STRICT, WITHOUT ROWID;

-- Numbers are dense: given inside the transaction that makes the change.
CREATE TABLE event (
    seq INTEGER PRIMARY KEY CHECK (seq > 0),
    boot_id TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    monotonic_ns INTEGER NOT NULL,
    type TEXT NOT NULL,
    vm TEXT,
    vm_name TEXT,
    generation INTEGER NOT NULL,
    actor TEXT NOT NULL,
    data TEXT NOT NULL
) STRICT;

-- Work outside the database that was promised and is not known to be done.
CREATE TABLE op (
    object TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('remove_files'))
) STRICT, WITHOUT ROWID;
