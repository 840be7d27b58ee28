-- New runs that are due, of each workflow and priority at most so many, the earliest first. Jumps from priority to priority: in
-- one priority the order of rank is the order of being due, so runs that are not due yet are never read.
-- JSON list of [place of the workflow, a list of [rank, run_id, streak]].
-- Differs because: several nodes claim at once, and each skips what another has locked.
WITH RECURSIVE levels (place, workflow, version, priority) AS (
    SELECT known.place - 1, known.value ->> 0, known.value ->> 1, (
        SELECT max(priority) FROM runs
        WHERE status = 0 AND workflow = known.value ->> 0 AND version = known.value ->> 1
    )
    FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS known (value, place)
    UNION ALL
    SELECT place, workflow, version, (
        SELECT max(runs.priority) FROM runs
        WHERE status = 0 AND runs.workflow = levels.workflow AND runs.version = levels.version
            AND runs.priority < levels.priority
    )
    FROM levels WHERE priority IS NOT NULL
),
picked AS MATERIALIZED (
    SELECT levels.place, levels.priority, due.rank, due.run_id, due.wake_at
    FROM levels CROSS JOIN LATERAL (
        SELECT rank, run_id, wake_at FROM runs
        WHERE status = 0 AND runs.workflow = levels.workflow AND runs.version = levels.version
            AND runs.priority = levels.priority AND wake_at <= $2
        ORDER BY wake_at LIMIT $3 FOR UPDATE SKIP LOCKED
    ) AS due
    WHERE levels.priority IS NOT NULL
)
SELECT coalesce(json_agg(json_build_array(place, level)), '[]')::text
FROM (
    SELECT place, json_agg(json_build_array(rank, run_id, 0) ORDER BY wake_at, rank) AS level
    FROM picked GROUP BY place, priority
) AS grouped
