-- Owners exist, and own what is running.
SELECT run_id, owner FROM runs
WHERE owner IS NOT NULL AND (status <> 1 OR NOT EXISTS (SELECT 1 FROM nodes WHERE node_id = owner))
LIMIT $1
