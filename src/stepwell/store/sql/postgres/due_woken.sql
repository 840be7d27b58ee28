-- Woken and freed runs that are due, the earliest first, of each workflow at most so many.
-- JSON list, a list for each workflow, of [wake_at, run_id, streak].
-- Differs because: several nodes claim at once, and each skips what another has locked.
WITH known AS MATERIALIZED (
    SELECT place, value ->> 0 AS workflow, value ->> 1 AS version
    FROM jsonb_array_elements($3::jsonb) WITH ORDINALITY AS asked (value, place)
),
picked AS MATERIALIZED (
    SELECT known.place, due.wake_at, due.run_id, due.streak
    FROM known CROSS JOIN LATERAL (
        SELECT wake_at, run_id, streak FROM runs
        WHERE owner IS NULL AND wake_at IS NOT NULL AND status = 1
            AND runs.workflow = known.workflow AND runs.version = known.version AND wake_at <= $1
        ORDER BY wake_at LIMIT $2 FOR UPDATE SKIP LOCKED
    ) AS due
)
SELECT coalesce(json_agg(coalesce((
    SELECT json_agg(json_build_array(wake_at, run_id, streak) ORDER BY wake_at) FROM picked WHERE picked.place = known.place
), '[]') ORDER BY place), '[]')::text
FROM known
