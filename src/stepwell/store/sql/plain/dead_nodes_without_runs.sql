-- The dead nodes that no run names any more. JSON list of node ids.
-- Differs because: a question for each node is not understood.
SELECT coalesce(json_agg(node_id), '[]')::text FROM (
    SELECT node_id FROM nodes WHERE alive = 0
    EXCEPT
    SELECT owner FROM runs WHERE owner IS NOT NULL
) AS gone
