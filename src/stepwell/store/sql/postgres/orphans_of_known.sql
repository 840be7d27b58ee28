-- Runs of dead owners that this node's workers could take. JSON list of run ids.
-- Differs because: several nodes free at once, and each skips what another has locked.
WITH picked AS MATERIALIZED (
    SELECT runs.run_id FROM jsonb_array_elements_text($1::jsonb) AS dead (node_id)
    CROSS JOIN jsonb_array_elements($2::jsonb) AS known (value)
    JOIN runs ON runs.owner = dead.node_id AND runs.workflow = known.value ->> 0 AND runs.version = known.value ->> 1
    LIMIT $3 FOR UPDATE OF runs SKIP LOCKED
)
SELECT coalesce(json_agg(run_id), '[]')::text FROM picked
