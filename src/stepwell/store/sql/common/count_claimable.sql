-- Runs that are due and that nobody owns.
SELECT count(*) FROM runs WHERE owner IS NULL AND wake_at IS NOT NULL AND wake_at <= $1
