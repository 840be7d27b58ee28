-- All collections, by name.
SELECT name, settled, seq, created_at, updated_at FROM collections ORDER BY name
