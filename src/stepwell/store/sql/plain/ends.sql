-- What is shown of runs beside their rows: [run_id, number of an event or 0, number of another or 0].
-- JSON list of [run_id, seq, type, step_id, name, payload, at]; what a run has shown of itself last comes as number 0.
-- Differs because: a question for each run is not understood.
WITH asked AS MATERIALIZED (
    SELECT value ->> 0 AS run_id, (value ->> 1)::bigint AS first, (value ->> 2)::bigint AS last
    FROM jsonb_array_elements($1::jsonb) AS given (value)
),
states AS (
    SELECT run_id, max(seq) AS seq FROM events
    WHERE type = 'state_set' AND run_id IN (SELECT run_id FROM asked) GROUP BY run_id
)
SELECT coalesce(json_agg(json_build_array(
    shown.run_id, shown.seq, shown.type, shown.step_id, shown.name, shown.payload, shown.at
)), '[]')::text
FROM (
    SELECT events.* FROM asked JOIN events ON events.run_id = asked.run_id AND events.seq IN (asked.first, asked.last)
    UNION ALL
    SELECT events.run_id, 0, events.type, events.step_id, events.name, events.payload, events.at
    FROM states JOIN events ON events.run_id = states.run_id AND events.seq = states.seq
) AS shown
