-- How many runs are due and owned by nobody; counting ends at a number. It jumps over those that wait for their time.
WITH RECURSIVE known (workflow, version) AS (
    SELECT '', ''
    UNION ALL
    SELECT runs.workflow, runs.version
    FROM known CROSS JOIN runs ON run_id = coalesce(
        (
            SELECT run_id FROM runs
            WHERE owner IS NULL AND wake_at IS NOT NULL AND workflow = known.workflow AND version > known.version
            ORDER BY version LIMIT 1
        ),
        (
            SELECT run_id FROM runs WHERE owner IS NULL AND wake_at IS NOT NULL AND workflow > known.workflow
            ORDER BY workflow, version LIMIT 1
        )
    )
),
statuses (status) AS (VALUES (0), (1))
SELECT min($1, coalesce(sum((
    SELECT count(*) FROM (
        SELECT 1 FROM runs
        WHERE owner IS NULL AND wake_at IS NOT NULL AND runs.workflow = known.workflow AND runs.version = known.version
            AND runs.status = statuses.status AND wake_at <= $2
        LIMIT $1
    )
)), 0))
FROM known CROSS JOIN statuses
