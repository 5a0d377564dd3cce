-- SPDX-License-Identifier: Apache-2.0
-- Under which boot of the host the service ran last, and what is to become of VMs by themselves:
-- 1 stopped with the host, 2 waits for its automatic start, 3 crashed and to be started again.
ALTER TABLE host ADD COLUMN boot_id TEXT;
ALTER TABLE vm ADD COLUMN mark INTEGER NOT NULL DEFAULT 0 CHECK (mark BETWEEN 0 AND 3);
