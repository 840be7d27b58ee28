-- How many runs are due and owned by nobody; counting ends at a number.
SELECT count(*) FROM (
    SELECT 1 FROM runs WHERE owner IS NULL AND wake_at IS NOT NULL AND wake_at <= $1 LIMIT $2
) AS due
