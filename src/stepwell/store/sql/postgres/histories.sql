-- Stretches of histories: [run_id, after seq, up to seq]. JSON list of [run_id, seq, type, step_id, name, payload, at].
-- Differs because: PostgreSQL has its own words for JSON.
SELECT coalesce(json_agg(json_build_array(
    stored.run_id, stored.seq, stored.type, stored.step_id, stored.name, stored.payload, stored.at
) ORDER BY stored.run_id, stored.seq), '[]')::text
FROM jsonb_array_elements($1::jsonb) AS asked (value)
JOIN events AS stored ON stored.run_id = asked.value ->> 0
    AND stored.seq > (asked.value ->> 1)::bigint AND stored.seq <= (asked.value ->> 2)::bigint
