-- One collection.
SELECT name, settled, seq, created_at, updated_at FROM collections WHERE name = $1
