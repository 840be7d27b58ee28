-- A run knows the last number in its mailbox. A fork's begins behind that of the run whose events it shares.
SELECT runs.run_id, runs.mailbox_seq
FROM runs LEFT JOIN (
    SELECT run_id, count(*) AS amount, min(mailbox_seq) AS first, max(mailbox_seq) AS last FROM messages GROUP BY run_id
) AS mail ON mail.run_id = runs.run_id
WHERE runs.status < 6 AND ((mail.run_id IS NOT NULL AND (runs.mailbox_seq <> mail.last OR mail.last - mail.first + 1 <> mail.amount))
    OR (runs.mailbox_seq <> coalesce(mail.amount, 0) AND NOT EXISTS (
        SELECT 1 FROM events WHERE events.run_id = runs.run_id AND events.type = 'run_forked'
    )))
LIMIT $1
