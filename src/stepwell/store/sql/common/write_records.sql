-- Records as they are now.
INSERT INTO records (collection, id, data) VALUES {rows}
ON CONFLICT (collection, id) DO UPDATE SET data = excluded.data
