-- Stretches of mailboxes, to be removed: [run_id, after number, up to number].
-- Differs because: PostgreSQL has its own words for JSON.
DELETE FROM messages USING jsonb_array_elements($1::jsonb) AS gone (value)
WHERE messages.run_id = gone.value ->> 0
    AND messages.mailbox_seq > (gone.value ->> 1)::bigint AND messages.mailbox_seq <= (gone.value ->> 2)::bigint
