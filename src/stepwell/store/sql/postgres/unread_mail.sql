-- Messages that are not transcribed, in order. JSON list of [run_id, mailbox_seq, kind, name, message_id, payload, at].
-- Differs because: PostgreSQL has its own words for JSON.
SELECT coalesce(json_agg(json_build_array(
    stored.run_id, stored.mailbox_seq, stored.kind, stored.name, stored.message_id, stored.payload, stored.at
) ORDER BY stored.run_id, stored.mailbox_seq), '[]')::text
FROM runs JOIN messages AS stored ON stored.run_id = runs.run_id AND stored.mailbox_seq > runs.mailbox_consumed
WHERE runs.run_id IN (SELECT value FROM jsonb_array_elements_text($1::jsonb)) AND runs.mailbox_seq > runs.mailbox_consumed
