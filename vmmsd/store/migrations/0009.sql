-- SPDX-License-Identifier: Apache-2.0
-- Groups of VMs, groups of groups, and groups that a remote identity is limited to. Whoever makes the
-- table vm anew makes vm_group_member anew as well.
CREATE TABLE vm_group (
    id TEXT PRIMARY KEY CHECK (length(id) = 36),
    name TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 100),
    kind TEXT NOT NULL CHECK (kind IN ('vm', 'management')),
    notes TEXT NOT NULL,
    generation INTEGER NOT NULL CHECK (generation > 0),
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE vm_group_member (
    vm_group TEXT NOT NULL REFERENCES vm_group (id) ON DELETE CASCADE,
    vm TEXT REFERENCES vm (id) ON DELETE CASCADE,
    child TEXT REFERENCES vm_group (id),
    UNIQUE (vm_group, vm),
    UNIQUE (vm_group, child),
    CHECK ((vm IS NULL) <> (child IS NULL)),
    CHECK (child <> vm_group)
) STRICT;
CREATE INDEX vm_group_member_vm ON vm_group_member (vm);
CREATE INDEX vm_group_member_child ON vm_group_member (child);

ALTER TABLE identity ADD COLUMN groups TEXT NOT NULL DEFAULT '';
