-- A tombstone counts what is left below it.
UPDATE runs SET seq = $1, mailbox_seq = $2 WHERE run_id = $3 AND status = 6
