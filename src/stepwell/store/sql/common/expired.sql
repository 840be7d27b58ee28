-- Runs of a workflow and version that were over before a time, the oldest first, behind the one seen last; and whether somebody
-- waits for them.
SELECT
    run_id, workflow, created_at, completed_at, parent_run_id,
    CASE WHEN EXISTS (SELECT 1 FROM waiters WHERE waiters.run_id = runs.run_id) THEN 1 ELSE 0 END
FROM runs
WHERE
    workflow = $1 AND created_at < $2 AND (created_at, run_id) > ($3, $4) AND version = $5
    AND status IN (3, 4, 5) AND completed_at < $2
ORDER BY created_at, run_id LIMIT $6
