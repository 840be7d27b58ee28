-- Runs by their ids, whole. JSON list of lists, in the order of RunRow.
SELECT json_group_array(json_array({run}))
FROM json_each($1) AS asked CROSS JOIN runs ON runs.run_id = asked.value AND status < 6
