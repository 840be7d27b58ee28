-- Runs that are not over, by workflow, version and status.
SELECT workflow, version, status, count(*) FROM runs WHERE status < 3 GROUP BY workflow, version, status
