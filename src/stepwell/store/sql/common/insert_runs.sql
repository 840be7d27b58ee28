-- New runs.
INSERT INTO runs ({run}, input_hash) VALUES {rows}
