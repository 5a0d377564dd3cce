-- SPDX-License-Identifier: Apache-2.0
-- Who may call from afar. A token is kept only as its hash, after its use as well, so that a
-- second use can be told from a wrong one.
CREATE TABLE identity (
    name TEXT PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),
    role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'administrator')),
    state TEXT NOT NULL CHECK (state IN ('invited', 'enrolled', 'revoked')),
    is_limited INTEGER NOT NULL CHECK (is_limited IN (0, 1)),
    vms TEXT NOT NULL,
    token_hash TEXT UNIQUE CHECK (length(token_hash) = 64),
    fingerprint TEXT UNIQUE CHECK (length(fingerprint) = 64),
    old_fingerprint TEXT CHECK (length(old_fingerprint) = 64),
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    seen_ms INTEGER NOT NULL,
    CHECK (state <> 'invited' OR token_hash IS NOT NULL),
    CHECK (state <> 'enrolled' OR fingerprint IS NOT NULL)
) STRICT, WITHOUT ROWID;
