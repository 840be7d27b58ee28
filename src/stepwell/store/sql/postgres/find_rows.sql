-- Runs by their ids, whole. JSON list of lists, in the order of RunRow and of the ids.
-- Differs because: PostgreSQL has its own words for JSON.
SELECT coalesce(json_agg(json_build_array({run}) ORDER BY place), '[]')::text
FROM jsonb_array_elements_text($1::jsonb) WITH ORDINALITY AS asked (id, place) JOIN runs ON runs.run_id = asked.id AND status < 6
