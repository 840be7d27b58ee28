-- Idempotency keys of runs that are no more: [workflow, key].
-- Differs because: PostgreSQL has its own words for JSON.
DELETE FROM idempotency USING jsonb_array_elements($1::jsonb) AS gone (value)
WHERE idempotency.workflow = gone.value ->> 0 AND idempotency.key = gone.value ->> 1
