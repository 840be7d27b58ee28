-- Hooks by run and id. JSON list of lists, in the order of HookRow.
-- Differs because: PostgreSQL has its own words for JSON.
SELECT coalesce(json_agg(json_build_array(
    hooks.run_id, hook_id, seq, name, action, payload, expires, created_at, answer_id, answer, answered_at
)), '[]')::text
FROM jsonb_array_elements($1::jsonb) AS asked (value)
JOIN hooks ON hooks.run_id = asked.value ->> 0 AND hooks.hook_id = asked.value ->> 1
