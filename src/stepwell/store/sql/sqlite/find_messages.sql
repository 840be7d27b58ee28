-- Which of these messages are stored. JSON list of [run_id, kind, message_id, mailbox_seq].
SELECT json_group_array(json_array(stored.run_id, stored.kind, stored.message_id, stored.mailbox_seq))
FROM json_each($1) AS asked CROSS JOIN messages AS stored
    ON stored.run_id = asked.value ->> 0 AND stored.kind = asked.value ->> 1 AND stored.message_id = asked.value ->> 2
