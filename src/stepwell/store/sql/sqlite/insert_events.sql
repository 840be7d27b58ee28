-- Events, with the numbers that this commit gave them.
-- Differs because: OR FAIL leaves rows written before the one that fails, which the rollback of the batch takes back anyway. To
-- be able to undo one statement, SQLite would copy each page before changing it, a third of the time of the insert.
INSERT OR FAIL INTO events (run_id, seq, type, step_id, name, payload, at) VALUES {rows}
