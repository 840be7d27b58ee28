-- Tombstones of which nothing else is left, by run id.
DELETE FROM runs WHERE status = 6 AND run_id IN (SELECT value FROM json_each($1))
