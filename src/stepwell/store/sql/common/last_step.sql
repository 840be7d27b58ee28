-- The step that a run recorded last.
SELECT name FROM events WHERE run_id = $1 AND type LIKE 'step%' ORDER BY seq DESC LIMIT 1
