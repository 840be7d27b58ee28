-- Write runs whose history has grown and whose place among the claimable ones is the same.
-- Differs because: OR FAIL, as in insert_events.sql.
WITH changed (run_id, seq, waiting_for) AS (VALUES {rows})
UPDATE OR FAIL runs SET seq = changed.seq, waiting_for = changed.waiting_for, updated_at = ?
FROM changed WHERE runs.run_id = changed.run_id
