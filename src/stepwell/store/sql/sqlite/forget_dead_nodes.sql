-- Delete the dead nodes that no run names any more.
-- Differs because: one row with a JSON list answers, and not many rows (see sqlite_rows.py).
DELETE FROM nodes
WHERE node_id IN (SELECT value FROM json_each($1))
