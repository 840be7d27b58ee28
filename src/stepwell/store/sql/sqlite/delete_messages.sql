-- Stretches of mailboxes, to be removed: [run_id, after number, up to number].
DELETE FROM messages WHERE (run_id, mailbox_seq) IN (
    SELECT gone.run_id, gone.mailbox_seq FROM json_each($1) AS asked CROSS JOIN messages AS gone
        ON gone.run_id = asked.value ->> 0 AND gone.mailbox_seq > asked.value ->> 1 AND gone.mailbox_seq <= asked.value ->> 2
)
