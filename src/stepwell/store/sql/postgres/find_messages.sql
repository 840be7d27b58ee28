-- Which of these messages are stored. JSON list of [run_id, kind, message_id, mailbox_seq].
-- Differs because: PostgreSQL has its own words for JSON.
SELECT coalesce(json_agg(json_build_array(stored.run_id, stored.kind, stored.message_id, stored.mailbox_seq)), '[]')::text
FROM jsonb_array_elements($1::jsonb) AS asked (value)
JOIN messages AS stored
    ON stored.run_id = asked.value ->> 0 AND stored.kind = asked.value ->> 1 AND stored.message_id = asked.value ->> 2
