-- Runs of dead owners. JSON list of run ids.
-- Differs because: several nodes free at once, and each skips what another has locked.
WITH picked AS MATERIALIZED (
    SELECT runs.run_id FROM runs
    WHERE owner = ANY (SELECT value FROM jsonb_array_elements_text($1::jsonb))
    LIMIT $2 FOR UPDATE SKIP LOCKED
)
SELECT coalesce(json_agg(run_id), '[]')::text FROM picked
