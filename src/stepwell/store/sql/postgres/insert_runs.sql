-- New runs.
-- Differs because: all rows come as one JSON list of objects, which PostgreSQL reads fastest.
INSERT INTO runs ({run}, input_hash)
SELECT {run}, input_hash FROM jsonb_to_recordset($1::jsonb) AS given (
    run_id text, workflow text, version text, status bigint, owner text, turn bigint, attempt bigint, interruptions bigint,
    streak bigint, tries bigint, priority bigint, rank bigint, wanted bigint, undo bigint, seq bigint, mailbox_seq bigint,
    mailbox_consumed bigint, wake_at bigint, deadline bigint, timeout_ms bigint, waiting_for text, max_events bigint, tags
    text, parent_run_id text, idempotency_key text, created_at bigint, started_at bigint, completed_at bigint, updated_at
    bigint, input_hash text
)
