-- Nothing is transcribed that is not there.
SELECT run_id, mailbox_consumed FROM runs WHERE mailbox_consumed > mailbox_seq AND status < 6 LIMIT $1
