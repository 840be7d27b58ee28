-- Those who waited for these runs were told; those of these that waited themselves do not any more.
-- Differs because: PostgreSQL reads an index for one of two conditions, and not for either of them.
DELETE FROM waiters WHERE (run_id, waiter) IN (
    SELECT run_id, waiter FROM waiters WHERE run_id IN (SELECT value FROM jsonb_array_elements_text($1::jsonb))
    UNION
    SELECT run_id, waiter FROM waiters WHERE waiter IN (SELECT value FROM jsonb_array_elements_text($1::jsonb))
)
