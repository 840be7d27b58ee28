-- Events, with the numbers that this commit gave them.
INSERT INTO events (run_id, seq, type, step_id, name, payload, at) VALUES {rows}
