-- The ids of messages in given stretches of mailboxes. JSON list of [run_id, mailbox_seq, message_id].
-- Differs because: PostgreSQL has its own words for JSON.
SELECT coalesce(json_agg(json_build_array(stored.run_id, stored.mailbox_seq, stored.message_id)), '[]')::text
FROM jsonb_array_elements($1::jsonb) AS asked (value)
JOIN messages AS stored ON stored.run_id = asked.value ->> 0
    AND stored.mailbox_seq >= (asked.value ->> 1)::bigint AND stored.mailbox_seq <= (asked.value ->> 2)::bigint
