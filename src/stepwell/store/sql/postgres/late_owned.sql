-- Runs whose deadline has passed under their owner's eyes. JSON list of run ids.
-- Differs because: several nodes look at once, and each skips what another has locked.
WITH picked AS MATERIALIZED (
    SELECT run_id FROM runs WHERE deadline <= $1 AND deadline IS NOT NULL AND owner IS NOT NULL
    ORDER BY deadline LIMIT $2 FOR UPDATE SKIP LOCKED
)
SELECT coalesce(json_agg(run_id), '[]')::text FROM picked
