-- Who waits for these runs. JSON list of [run_id, waiter], in the order in which they are told.
SELECT json_group_array(json_array(run_id, waiter)) FROM (
    SELECT waiters.run_id, waiters.waiter FROM json_each($1) AS asked CROSS JOIN waiters ON waiters.run_id = asked.value
    ORDER BY waiters.run_id, waiters.waiter
)
