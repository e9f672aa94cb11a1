-- How an answer was told piece by piece, so that its stream can be told again: JSON, or nothing.
ALTER TABLE responses ADD COLUMN pieces TEXT NOT NULL DEFAULT '';
