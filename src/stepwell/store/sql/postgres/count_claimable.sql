-- How many runs are due and owned by nobody; counting ends at a number. It jumps over those that wait for their time.
-- Differs because: SQLite says it without LATERAL.
WITH RECURSIVE known (workflow, version) AS (
    SELECT '', ''
    UNION ALL
    SELECT later.workflow, later.version
    FROM known CROSS JOIN LATERAL (
        SELECT workflow, version FROM runs
        WHERE owner IS NULL AND wake_at IS NOT NULL AND (runs.workflow, runs.version) > (known.workflow, known.version)
        ORDER BY workflow, version LIMIT 1
    ) AS later
)
SELECT least($1::bigint, coalesce(sum((
    SELECT count(*) FROM (
        SELECT 1 FROM runs
        WHERE owner IS NULL AND wake_at IS NOT NULL AND wake_at <= $2
            AND runs.workflow = known.workflow AND runs.version = known.version AND runs.status = statuses.status
        LIMIT $1
    ) AS due
)), 0))::bigint
FROM known CROSS JOIN (VALUES (0), (1)) AS statuses (status)
