-- Idempotency keys of runs that are no more: [workflow, key].
DELETE FROM idempotency WHERE (workflow, key) IN (SELECT value ->> 0, value ->> 1 FROM json_each($1))
