-- What is shown of runs beside their rows: [run_id, number of an event or 0, number of another or 0].
-- JSON list of [run_id, seq, type, step_id, name, payload, at]; what a run has shown of itself last comes as number 0.
WITH asked AS MATERIALIZED (
    SELECT value ->> 0 AS run_id, (value ->> 1)::bigint AS first, (value ->> 2)::bigint AS last
    FROM jsonb_array_elements($1::jsonb) AS given (value)
)
SELECT coalesce(json_agg(json_build_array(
    shown.run_id, shown.seq, shown.type, shown.step_id, shown.name, shown.payload, shown.at
)), '[]')::text
FROM (
    SELECT events.* FROM asked JOIN events ON events.run_id = asked.run_id AND events.seq IN (asked.first, asked.last)
    UNION ALL
    SELECT state.run_id, 0, state.type, state.step_id, state.name, state.payload, state.at
    FROM asked CROSS JOIN LATERAL (
        SELECT * FROM events WHERE events.run_id = asked.run_id AND type = 'state_set' ORDER BY seq DESC LIMIT 1
    ) AS state
) AS shown
