-- SPDX-License-Identifier: Apache-2.0
-- What waits for the VM to be off, as JSON: the API's pending_config.
ALTER TABLE vm ADD COLUMN staged TEXT;
