-- Which runs have which tags.
INSERT INTO run_tags (run_id, tag, created_at) VALUES {rows}
