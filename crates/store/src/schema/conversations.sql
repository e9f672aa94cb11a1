-- Conversations as objects: items that stay until they are deleted.
CREATE TABLE conversations (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    -- JSON object.
    metadata TEXT NOT NULL,
    -- Of its items.
    n_items INTEGER NOT NULL DEFAULT 0,
    n_bytes INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE conversation_items (
    -- The order within the conversation.
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation TEXT NOT NULL,
    id TEXT NOT NULL,
    owner TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    -- JSON object.
    item TEXT NOT NULL,
    UNIQUE (conversation, id)
) STRICT;
CREATE INDEX conversation_items_in_order ON conversation_items (conversation, seq);
CREATE INDEX conversations_of_owner ON conversations (owner);

-- Both count to what the owner's responses take, and by themselves too: they do not go to make room.
CREATE TRIGGER conversations_come AFTER INSERT ON conversations BEGIN
    INSERT INTO taken VALUES
        ('responses', NEW.owner, NEW.bytes), ('conversations', NEW.owner, NEW.bytes)
        ON CONFLICT DO UPDATE SET bytes = bytes + NEW.bytes;
END;
CREATE TRIGGER conversations_grow AFTER UPDATE OF bytes ON conversations BEGIN
    UPDATE taken SET bytes = bytes + NEW.bytes - OLD.bytes
        WHERE what IN ('responses', 'conversations') AND owner = NEW.owner;
END;
CREATE TRIGGER conversations_go AFTER DELETE ON conversations BEGIN
    -- Its items go with it.
    DELETE FROM conversation_items WHERE conversation = OLD.id;
    UPDATE taken SET bytes = bytes - OLD.bytes
        WHERE what IN ('responses', 'conversations') AND owner = OLD.owner;
    DELETE FROM taken
        WHERE what IN ('responses', 'conversations') AND owner = OLD.owner AND bytes = 0;
END;
CREATE TRIGGER conversation_items_come AFTER INSERT ON conversation_items BEGIN
    INSERT INTO taken VALUES
        ('responses', NEW.owner, NEW.bytes), ('conversations', NEW.owner, NEW.bytes)
        ON CONFLICT DO UPDATE SET bytes = bytes + NEW.bytes;
    UPDATE conversations SET n_items = n_items + 1, n_bytes = n_bytes + octet_length(NEW.item)
        WHERE id = NEW.conversation;
END;
CREATE TRIGGER conversation_items_go AFTER DELETE ON conversation_items BEGIN
    UPDATE taken SET bytes = bytes - OLD.bytes
        WHERE what IN ('responses', 'conversations') AND owner = OLD.owner;
    UPDATE conversations SET n_items = n_items - 1, n_bytes = n_bytes - octet_length(OLD.item)
        WHERE id = OLD.conversation;
END;
