-- What the last events of these runs say. JSON list of [run_id, payload].
SELECT json_group_array(json_array(runs.run_id, events.payload))
FROM json_each($1) AS asked CROSS JOIN runs ON runs.run_id = asked.value
CROSS JOIN events ON events.run_id = runs.run_id AND events.seq = runs.seq
