-- API keys. Of a key itself there is only its digest.
CREATE TABLE keys (
    -- Never used again, so that what is kept of a key is never another's.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- SHA-256 of the key.
    hash BLOB NOT NULL UNIQUE,
    -- How the key begins, for people.
    prefix TEXT NOT NULL,
    name TEXT NOT NULL,
    -- Drawn by chance: what is computed for a tenant may outlive this file.
    tenant INTEGER NOT NULL UNIQUE,
    -- Patterns of names, one a line; none is every model.
    models TEXT NOT NULL,
    requests_per_minute INTEGER,
    tokens_per_minute INTEGER,
    parallel INTEGER,
    -- Unix times in seconds.
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    used_at INTEGER
) STRICT;
-- The name of a revoked key is free.
CREATE UNIQUE INDEX keys_by_name ON keys (name) WHERE revoked_at IS NULL;
