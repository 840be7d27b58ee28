-- The ids of messages in given stretches of mailboxes. JSON list of [run_id, mailbox_seq, message_id].
SELECT json_group_array(json_array(stored.run_id, stored.mailbox_seq, stored.message_id))
FROM json_each($1) AS asked CROSS JOIN messages AS stored
    ON stored.run_id = asked.value ->> 0
        AND stored.mailbox_seq >= asked.value ->> 1 AND stored.mailbox_seq <= asked.value ->> 2
