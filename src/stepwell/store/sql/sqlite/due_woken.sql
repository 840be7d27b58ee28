-- Woken and freed runs that are due, the earliest first, of each workflow at most so many.
-- JSON list, a list for each workflow, of [wake_at, run_id, streak].
SELECT json_group_array(json((
    SELECT json_group_array(json_array(wake_at, run_id, streak)) FROM (
        SELECT wake_at, run_id, streak FROM runs
        WHERE owner IS NULL AND status = 1 AND workflow = known.value ->> 0 AND version = known.value ->> 1 AND wake_at <= $1
        ORDER BY wake_at LIMIT $2
    )
)))
FROM json_each($3) AS known
