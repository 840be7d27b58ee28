-- Messages that are not transcribed, in order. JSON list of [run_id, mailbox_seq, kind, name, message_id, payload, at].
SELECT cast(json_group_array(json_array(
    stored.run_id, stored.mailbox_seq, stored.kind, stored.name, stored.message_id, stored.payload, stored.at
)) AS blob)
FROM json_each($1) AS asked
CROSS JOIN runs ON runs.run_id = asked.value AND runs.mailbox_seq > runs.mailbox_consumed
CROSS JOIN messages AS stored ON stored.run_id = runs.run_id AND stored.mailbox_seq > runs.mailbox_consumed
