-- Responses that were asked to be kept: what was given beyond the turns before, and the answer.
CREATE TABLE responses (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    -- Not a reference: the turn before may be deleted.
    previous TEXT,
    status TEXT NOT NULL,
    -- The process that works on it.
    runner TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    -- Kept since: a turn is as young as the last that follows it.
    used_at INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    input TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX responses_by_use ON responses (used_at);
CREATE INDEX responses_by_status ON responses (status);
