-- Lines that have an error only because their batch ended before them.
ALTER TABLE batches ADD COLUMN unanswered INTEGER NOT NULL DEFAULT 0;
