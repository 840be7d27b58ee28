-- Collections that come into being, unless somebody else has made them meanwhile.
INSERT INTO collections (name, settled, seq, created_at, updated_at) VALUES {rows}
ON CONFLICT (name) DO NOTHING
