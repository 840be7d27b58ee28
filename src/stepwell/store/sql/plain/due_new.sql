-- New runs that are due, of each workflow and priority at most so many, the earliest first. Reads all that are due.
-- JSON list of [place of the workflow, a list of [rank, run_id, streak]].
-- Differs because: questions that jump through an index are not understood.
WITH known AS MATERIALIZED (
    SELECT place - 1 AS place, value ->> 0 AS workflow, value ->> 1 AS version
    FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS asked (value, place)
),
due AS MATERIALIZED (
    SELECT workflow, version, priority, rank, run_id, wake_at,
        row_number() OVER (PARTITION BY workflow, version, priority ORDER BY wake_at) AS number
    FROM runs WHERE status = 0 AND wake_at <= $2
),
levels AS (
    SELECT known.place, json_agg(json_build_array(due.rank, due.run_id, 0) ORDER BY due.wake_at, due.rank) AS level
    FROM known JOIN due ON due.workflow = known.workflow AND due.version = known.version AND due.number <= $3
    GROUP BY known.place, due.priority
)
SELECT coalesce(json_agg(json_build_array(place, level)), '[]')::text FROM levels
