-- Runs of a workflow and version that were over before a time, the oldest end first, behind the one seen last; and whether somebody
-- waits for them. Tombstones are not shown; the sum keeps the index of statuses out of it.
SELECT
    run_id, workflow, created_at, completed_at, parent_run_id,
    CASE WHEN EXISTS (SELECT 1 FROM waiters WHERE waiters.run_id = runs.run_id) THEN 1 ELSE 0 END
FROM runs
WHERE
    workflow = $1 AND version = $2 AND completed_at < $3 AND (completed_at, run_id) > ($4, $5) AND status + 0 < 6
ORDER BY completed_at, run_id LIMIT $6
