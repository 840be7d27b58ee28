-- A run knows the last number in its mailbox.
SELECT runs.run_id, runs.mailbox_seq
FROM runs LEFT JOIN (
    SELECT run_id, count(*) AS amount, max(mailbox_seq) AS last FROM messages GROUP BY run_id
) AS mail ON mail.run_id = runs.run_id
WHERE runs.mailbox_seq <> coalesce(mail.last, 0) OR runs.mailbox_seq <> coalesce(mail.amount, 0)
LIMIT $1
