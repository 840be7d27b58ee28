-- The runs that hold these idempotency keys. JSON list of [workflow, key, run_id].
SELECT json_group_array(json_array(held.workflow, held.key, held.run_id))
FROM json_each($1) AS asked CROSS JOIN idempotency AS held
    ON held.workflow = asked.value ->> 0 AND held.key = asked.value ->> 1
