-- Keys of records. Those that are there already were written while the index was made.
INSERT INTO record_keys (collection, number, key, id) VALUES {rows}
ON CONFLICT (collection, number, key, id) DO NOTHING
