-- SPDX-License-Identifier: Apache-2.0
-- Saved states: two more states of a VM, and what its files of one count for. SQLite changes no CHECK,
-- so the table is made anew, and those that refer to it, lest dropping it empties them.
CREATE TABLE new_vm (
    id TEXT PRIMARY KEY CHECK (length(id) = 36),
    name TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 100),
    definition TEXT NOT NULL,
    generation INTEGER NOT NULL CHECK (generation > 0),
    state TEXT NOT NULL CHECK (state IN
        ('off', 'starting', 'running', 'stopping', 'paused', 'saving', 'saved')),
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
    staged TEXT,
    mark INTEGER NOT NULL DEFAULT 0 CHECK (mark BETWEEN 0 AND 3),
    saved TEXT NOT NULL DEFAULT 'none' CHECK (saved IN ('none', 'kept', 'stale')),
    CHECK ((state IN ('off', 'saved')) = (incarnation IS NULL)),
    CHECK ((incarnation IS NULL) = (secret IS NULL)),
    CHECK (state <> 'saved' OR saved = 'kept')
) STRICT, WITHOUT ROWID;

INSERT INTO new_vm (id, name, definition, generation, state, created_ms, changed_ms, on_since_ms,
                    cause, cause_message, exit_status, incarnation, secret, pid, pid_start,
                    staged, mark)
    SELECT id, name, definition, generation, state, created_ms, changed_ms, on_since_ms,
           cause, cause_message, exit_status, incarnation, secret, pid, pid_start,
           staged, mark FROM vm;

CREATE TABLE new_device (
    id TEXT PRIMARY KEY CHECK (length(id) = 36),
    vm TEXT NOT NULL REFERENCES new_vm (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('scsi', 'disk', 'dvd')),
    controller INTEGER NOT NULL CHECK (controller BETWEEN 0 AND 3),
    lun INTEGER CHECK (lun BETWEEN 0 AND 63),
    path TEXT,
    format TEXT CHECK (format IN ('raw', 'vhd', 'vhdx')),
    read_only INTEGER NOT NULL CHECK (read_only IN (0, 1)),
    UNIQUE (vm, controller, lun),
    CHECK ((kind = 'scsi') = (lun IS NULL)),
    CHECK ((path IS NULL) = (format IS NULL)),
    CHECK (kind <> 'disk' OR path IS NOT NULL),
    CHECK (kind <> 'scsi' OR path IS NULL)
) STRICT, WITHOUT ROWID;

INSERT INTO new_device (id, vm, kind, controller, lun, path, format, read_only)
    SELECT id, vm, kind, controller, lun, path, format, read_only FROM device;

CREATE TABLE new_pair (
    vm TEXT NOT NULL REFERENCES new_vm (id) ON DELETE CASCADE,
    place INTEGER NOT NULL CHECK (place BETWEEN 0 AND 127),
    key TEXT NOT NULL CHECK (length(key) > 0),
    value TEXT NOT NULL,
    PRIMARY KEY (vm, place),
    UNIQUE (vm, key)
) STRICT, WITHOUT ROWID;

INSERT INTO new_pair (vm, place, key, value) SELECT vm, place, key, value FROM pair;

DROP TABLE pair;
DROP TABLE device;
DROP TABLE vm;
ALTER TABLE new_vm RENAME TO vm;
ALTER TABLE new_device RENAME TO device;
ALTER TABLE new_pair RENAME TO pair;
