-- Woken and freed runs that are due, the earliest first, of each workflow at most so many. Reads all that are due.
-- JSON list, a list for each workflow, of [wake_at, run_id, streak].
-- Differs because: a question for each workflow is not understood.
WITH known AS MATERIALIZED (
    SELECT place, value ->> 0 AS workflow, value ->> 1 AS version
    FROM jsonb_array_elements($3::jsonb) WITH ORDINALITY AS asked (value, place)
),
due AS MATERIALIZED (
    SELECT workflow, version, wake_at, run_id, streak,
        row_number() OVER (PARTITION BY workflow, version ORDER BY wake_at) AS number
    FROM runs WHERE owner IS NULL AND wake_at IS NOT NULL AND status = 1 AND wake_at <= $1
),
queues AS (
    SELECT known.place, coalesce(
        json_agg(json_build_array(due.wake_at, due.run_id, due.streak) ORDER BY due.number) FILTER (WHERE due.run_id IS NOT NULL),
        '[]'
    ) AS queue
    FROM known LEFT JOIN due ON due.workflow = known.workflow AND due.version = known.version AND due.number <= $2
    GROUP BY known.place
)
SELECT coalesce(json_agg(queue ORDER BY place), '[]')::text FROM queues
