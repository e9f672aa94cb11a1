-- What each owner takes, kept up by the tables themselves, so that a share is known without a look
-- at all rows.
CREATE TABLE taken (
    -- The table.
    what TEXT NOT NULL,
    owner TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (what, owner)
) STRICT, WITHOUT ROWID;

INSERT INTO taken SELECT 'files', owner, sum(bytes) FROM files GROUP BY owner;
CREATE TRIGGER files_come AFTER INSERT ON files BEGIN
    INSERT INTO taken VALUES ('files', NEW.owner, NEW.bytes)
        ON CONFLICT DO UPDATE SET bytes = bytes + NEW.bytes;
END;
CREATE TRIGGER files_go AFTER DELETE ON files BEGIN
    UPDATE taken SET bytes = bytes - OLD.bytes WHERE what = 'files' AND owner = OLD.owner;
    DELETE FROM taken WHERE what = 'files' AND owner = OLD.owner AND bytes = 0;
END;

INSERT INTO taken SELECT 'responses', owner, sum(bytes) FROM responses GROUP BY owner;
CREATE TRIGGER responses_come AFTER INSERT ON responses BEGIN
    INSERT INTO taken VALUES ('responses', NEW.owner, NEW.bytes)
        ON CONFLICT DO UPDATE SET bytes = bytes + NEW.bytes;
END;
CREATE TRIGGER responses_grow AFTER UPDATE OF bytes ON responses BEGIN
    UPDATE taken SET bytes = bytes + NEW.bytes - OLD.bytes
        WHERE what = 'responses' AND owner = NEW.owner;
END;
CREATE TRIGGER responses_go AFTER DELETE ON responses BEGIN
    UPDATE taken SET bytes = bytes - OLD.bytes WHERE what = 'responses' AND owner = OLD.owner;
    DELETE FROM taken WHERE what = 'responses' AND owner = OLD.owner AND bytes = 0;
END;
CREATE INDEX responses_of_owner ON responses (owner, used_at, seq);
CREATE INDEX batches_active ON batches (owner) WHERE ended_at IS NULL;

-- Counts what changes who may ask, and not that a key was used: a server looks at this one number
-- to know whether the keys in its memory are those of the file.
CREATE TABLE key_changes (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    count INTEGER NOT NULL
) STRICT;
INSERT INTO key_changes VALUES (1, 0);
CREATE TRIGGER keys_come AFTER INSERT ON keys BEGIN
    UPDATE key_changes SET count = count + 1;
END;
CREATE TRIGGER keys_go AFTER DELETE ON keys BEGIN
    UPDATE key_changes SET count = count + 1;
END;
CREATE TRIGGER keys_change AFTER UPDATE OF hash, prefix, name, tenant, models,
    requests_per_minute, tokens_per_minute, parallel, expires_at, revoked_at ON keys BEGIN
    UPDATE key_changes SET count = count + 1;
END;
