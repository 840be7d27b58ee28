-- Idempotency keys of new runs.
INSERT INTO idempotency (workflow, key, run_id, input_hash) VALUES {rows}
