-- Tags of runs that have others now, or are no more.
DELETE FROM run_tags WHERE run_id IN (SELECT value FROM json_each($1))
