-- The dead nodes that no run names any more. JSON list of node ids.
SELECT json_group_array(node_id) FROM nodes
WHERE alive = 0 AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.owner = nodes.node_id)
