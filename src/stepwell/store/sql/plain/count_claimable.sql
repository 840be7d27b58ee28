-- How many runs are due and owned by nobody; counting ends at a number. Reads all that wait for their time.
-- Differs because: questions that jump through an index are not understood.
SELECT count(*) FROM (
    SELECT 1 FROM runs WHERE owner IS NULL AND wake_at IS NOT NULL AND wake_at <= $2 LIMIT $1
) AS due
