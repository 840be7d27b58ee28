-- New runs that are due, of each workflow and priority at most so many, the earliest first. Jumps from priority to priority: in
-- one priority the order of rank is the order of being due, so runs that are not due yet are never read.
-- JSON list of [place of the workflow, a list of [rank, run_id, streak]].
WITH RECURSIVE levels (place, workflow, version, priority) AS (
    SELECT known.key, known.value ->> 0, known.value ->> 1, (
        SELECT max(priority) FROM runs
        WHERE status = 0 AND workflow = known.value ->> 0 AND version = known.value ->> 1
    )
    FROM json_each($1) AS known
    UNION ALL
    SELECT place, workflow, version, (
        SELECT max(runs.priority) FROM runs
        WHERE status = 0 AND runs.workflow = levels.workflow AND runs.version = levels.version
            AND runs.priority < levels.priority
    )
    FROM levels WHERE priority IS NOT NULL
)
SELECT json_group_array(json_array(place, json((
    SELECT json_group_array(json_array(rank, run_id, 0)) FROM (
        SELECT rank, run_id FROM runs
        WHERE status = 0 AND runs.workflow = levels.workflow AND runs.version = levels.version
            AND runs.priority = levels.priority AND wake_at <= $2
        ORDER BY wake_at LIMIT $3
    )
))))
FROM levels WHERE priority IS NOT NULL
