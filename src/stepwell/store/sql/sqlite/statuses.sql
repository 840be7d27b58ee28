-- The statuses of runs. JSON list of [run_id, status].
SELECT json_group_array(json_array(run_id, status))
FROM json_each($1) AS asked CROSS JOIN runs ON runs.run_id = asked.value AND status < 6
