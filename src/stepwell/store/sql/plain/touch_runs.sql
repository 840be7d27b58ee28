-- Lock the runs that a batch touches, by writing them as they are; the parameters are those of `drafts`, which reads them next.
-- Differs because: rows of several machines cannot be locked in one SELECT.
UPDATE runs SET turn = runs.turn
FROM (
    SELECT value AS run_id FROM jsonb_array_elements_text($1::jsonb)
    UNION
    SELECT waiter FROM waiters WHERE run_id IN (SELECT value FROM jsonb_array_elements_text($2::jsonb))
    ORDER BY run_id
) AS asked
WHERE runs.run_id = asked.run_id
