-- Which of these events from outside are stored. JSON list of [run_id, step_id, seq, type].
SELECT json_group_array(json_array(stored.run_id, stored.step_id, stored.seq, stored.type))
FROM json_each($1) AS asked CROSS JOIN events AS stored
    ON stored.run_id = asked.value ->> 0 AND stored.step_id = asked.value ->> 1
WHERE stored.step_id >= 'event:' AND stored.step_id < 'event;'
