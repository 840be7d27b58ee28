-- Runs, newest first.
SELECT {run} FROM runs WHERE {where} ORDER BY created_at DESC, run_id DESC
