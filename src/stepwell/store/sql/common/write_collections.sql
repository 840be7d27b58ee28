-- What is settled for collections, and how often they were written to.
INSERT INTO collections (name, settled, seq, created_at, updated_at) VALUES {rows}
ON CONFLICT (name) DO UPDATE SET settled = excluded.settled, seq = excluded.seq, updated_at = excluded.updated_at
