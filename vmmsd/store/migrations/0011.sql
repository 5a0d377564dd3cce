-- SPDX-License-Identifier: Apache-2.0
-- Jobs of several steps: what is recorded of each, as JSON, and whose step a job is.
ALTER TABLE job ADD COLUMN steps TEXT;
ALTER TABLE job ADD COLUMN parent INTEGER;
