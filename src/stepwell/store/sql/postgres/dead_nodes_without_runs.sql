-- The dead nodes that no run names any more. JSON list of node ids.
-- Differs because: PostgreSQL has its own words for JSON.
SELECT coalesce(json_agg(node_id), '[]')::text FROM nodes
WHERE alive = 0 AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.owner = nodes.node_id)
