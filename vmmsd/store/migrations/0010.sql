-- SPDX-License-Identifier: Apache-2.0
-- How long the log of events was when an event had been added, in bytes, like a place in a file: how
-- much is kept is a difference then. Events that are there already are counted by their texts.
ALTER TABLE event ADD COLUMN total INTEGER NOT NULL DEFAULT 0;

UPDATE event SET total = counted.total FROM (
    SELECT seq, sum(64 + length(boot_id) + length(type) + coalesce(length(vm), 0) +
                    coalesce(length(vm_name), 0) + coalesce(length(actor), 0) +
                    coalesce(length(data), 0) + coalesce(length(object), 0)) OVER (ORDER BY seq) AS total
    FROM event) AS counted
WHERE event.seq = counted.seq;
