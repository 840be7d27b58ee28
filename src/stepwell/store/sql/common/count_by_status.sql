-- Runs by status, tombstones not counted.
SELECT status, count(*) FROM runs WHERE status < 6 GROUP BY status
