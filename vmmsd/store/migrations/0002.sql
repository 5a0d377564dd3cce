-- SPDX-License-Identifier: Apache-2.0
-- Controllers, disks and DVD drives. A controller has no place; a drive without medium no path.
CREATE TABLE device (
    id TEXT PRIMARY KEY CHECK (length(id) = 36),
    vm TEXT NOT NULL REFERENCES vm (id) ON DELETE CASCADE,
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
