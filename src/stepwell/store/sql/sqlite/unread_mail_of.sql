-- Messages of one run that are not transcribed, in order, row by row. The payload comes as bytes: it may be unreadable.
SELECT stored.run_id, stored.mailbox_seq, stored.kind, stored.name, stored.message_id, cast(stored.payload AS blob), stored.at
FROM runs CROSS JOIN messages AS stored
    ON stored.run_id = runs.run_id AND stored.mailbox_seq > runs.mailbox_consumed
WHERE runs.run_id = $1
ORDER BY stored.mailbox_seq
