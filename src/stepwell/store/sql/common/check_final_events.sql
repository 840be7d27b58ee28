-- A run that is over has one final event, and it is the last; a run that is not has none. Those before a retry count no more.
SELECT runs.run_id, coalesce(ends.amount, 0)
FROM runs LEFT JOIN (
    SELECT run_id, count(*) AS amount, max(seq) AS last FROM events
    WHERE type IN ('run_completed', 'run_failed', 'run_cancelled') AND NOT EXISTS (
        SELECT 1 FROM events AS later WHERE later.run_id = events.run_id AND later.seq = events.seq + 1
            AND later.type = 'run_resumed' AND events.type = 'run_failed'
    ) GROUP BY run_id
) AS ends ON ends.run_id = runs.run_id
WHERE (runs.status BETWEEN 3 AND 5 AND (ends.run_id IS NULL OR ends.amount <> 1 OR ends.last <> runs.seq))
    OR (runs.status < 3 AND ends.run_id IS NOT NULL)
LIMIT $1
