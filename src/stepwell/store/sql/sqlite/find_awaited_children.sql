-- Children for which these runs wait. JSON list of [run_id, its child].
SELECT json_group_array(json_array(waiters.waiter, waiters.run_id))
FROM json_each($1) AS asked CROSS JOIN waiters ON waiters.waiter = asked.value
CROSS JOIN runs ON runs.run_id = waiters.run_id
WHERE runs.parent_run_id = waiters.waiter
