-- Owners of runs that are not alive, or have no row. Jumps from one owner to the next, and not from run to run.
-- JSON list of node ids.
-- Differs because: PostgreSQL has its own words for JSON.
WITH RECURSIVE owners (owner) AS (
    SELECT min(owner) FROM runs WHERE owner IS NOT NULL
    UNION ALL
    SELECT (SELECT min(runs.owner) FROM runs WHERE runs.owner > owners.owner) FROM owners WHERE owners.owner IS NOT NULL
)
SELECT coalesce(json_agg(owner), '[]')::text FROM owners
WHERE owner IS NOT NULL AND NOT EXISTS (SELECT 1 FROM nodes WHERE node_id = owner AND alive = 1)
