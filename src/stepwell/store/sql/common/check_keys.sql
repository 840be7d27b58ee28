-- Idempotency keys point to runs.
SELECT run_id, key FROM idempotency
WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.run_id = idempotency.run_id)
LIMIT $1
