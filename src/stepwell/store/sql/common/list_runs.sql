-- Runs, newest first. Tombstones are not shown; the sum keeps the index of statuses out of it.
SELECT {run} FROM runs WHERE {where} AND status + 0 < 6 ORDER BY created_at DESC, run_id DESC
