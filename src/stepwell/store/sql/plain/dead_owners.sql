-- Owners of runs that are not alive, or have no row. Reads the index of owned runs from end to end.
-- JSON list of node ids.
-- Differs because: questions that jump through an index are not understood.
SELECT coalesce(json_agg(owner), '[]')::text FROM (
    SELECT owner FROM runs WHERE owner IS NOT NULL
    EXCEPT
    SELECT node_id FROM nodes WHERE alive = 1
) AS owners
