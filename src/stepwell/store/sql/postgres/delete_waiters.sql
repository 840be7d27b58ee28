-- Those who waited for these runs were told; those of these that waited themselves do not any more.
-- Differs because: PostgreSQL has its own words for JSON.
DELETE FROM waiters
WHERE run_id IN (SELECT value FROM jsonb_array_elements_text($1::jsonb))
    OR waiter IN (SELECT value FROM jsonb_array_elements_text($1::jsonb))
