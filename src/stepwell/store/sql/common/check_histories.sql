-- Histories are numbered from 1 without a gap, and the run knows the last number. Of a run that is being removed, less and
-- less is there.
SELECT runs.run_id, runs.seq
FROM runs LEFT JOIN (
    SELECT run_id, count(*) AS amount, min(seq) AS first, max(seq) AS last FROM events GROUP BY run_id
) AS history ON history.run_id = runs.run_id
WHERE runs.status < 6 AND (history.run_id IS NULL OR amount <> runs.seq OR first <> 1 OR last <> runs.seq)
LIMIT $1
