-- Hooks by run and id. JSON list of lists, in the order of HookRow.
SELECT json_group_array(json_array(
    hooks.run_id, hook_id, seq, name, action, payload, expires, created_at, answer_id, answer, answered_at
))
FROM json_each($1) AS asked CROSS JOIN hooks ON hooks.run_id = asked.value ->> 0 AND hooks.hook_id = asked.value ->> 1
