-- One row for each call for an answer. No prompts and no answers: what is kept of content, and
-- only by consent, will be tables of its own that name a row of this one.
CREATE TABLE calls (
    row INTEGER PRIMARY KEY,
    -- Names the request in logs and headers; clients may choose it, so it need not be unique.
    request_id TEXT NOT NULL,
    -- Unix time in milliseconds.
    began_ms INTEGER NOT NULL,
    route TEXT NOT NULL,
    -- The name of the key that asked.
    key TEXT,
    -- The listed name; NULL where there was no such model.
    model TEXT,
    -- The model that this one is an adapter of.
    base_model TEXT,
    -- The HTTP status; 499 where the client did not stay for it, 0 where none was made.
    status INTEGER NOT NULL,
    is_streamed INTEGER NOT NULL,
    finish_reason TEXT,
    -- A code; messages may quote the request.
    error TEXT,
    choices INTEGER NOT NULL,
    -- The bits of an unsigned number.
    seed INTEGER,
    prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    drafted_tokens INTEGER NOT NULL,
    accepted_tokens INTEGER NOT NULL,
    -- Times in microseconds, from the request's arrival.
    queued_us INTEGER NOT NULL,
    first_token_us INTEGER,
    took_us INTEGER NOT NULL,
    bytes_in INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL
) STRICT;

CREATE INDEX calls_by_time ON calls (began_ms);
