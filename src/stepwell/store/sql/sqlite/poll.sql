-- All that a node asks when it asks: is it alive, is anything due, when will the next be, has it mail, are there orphans?
-- $1 known workflows, $2 now, $3 a lease, $4 the node, $5 boot id, $6 boot time. JSON list, in the order of Poll.
WITH RECURSIVE
owners (owner) AS (
    SELECT min(owner) FROM runs WHERE owner IS NOT NULL
    UNION ALL
    SELECT (SELECT min(runs.owner) FROM runs WHERE runs.owner > owners.owner) FROM owners WHERE owners.owner IS NOT NULL
),
known (workflow, version, status) AS (
    SELECT value ->> 0, value ->> 1, 0 FROM json_each($1) UNION ALL SELECT value ->> 0, value ->> 1, 1 FROM json_each($1)
),
due (now_due, next_due) AS (
    SELECT
        EXISTS (
            SELECT 1 FROM runs
            WHERE owner IS NULL AND runs.workflow = known.workflow AND runs.version = known.version
                AND runs.status = known.status AND wake_at <= $2
        ),
        (
            SELECT min(wake_at) FROM runs
            WHERE owner IS NULL AND runs.workflow = known.workflow AND runs.version = known.version
                AND runs.status = known.status AND wake_at > $2
        )
    FROM known
),
next (at) AS (
    SELECT min(next_due) FROM due
    UNION ALL SELECT min(deadline) FROM runs WHERE deadline IS NOT NULL AND owner IS NULL
    UNION ALL SELECT min(deadline) + $3 FROM runs WHERE deadline IS NOT NULL AND owner IS NOT NULL
)
SELECT json_array(
    json(iif(EXISTS (SELECT 1 FROM nodes WHERE node_id = $4 AND alive = 1), 'true', 'false')),
    json(iif(EXISTS (SELECT 1 FROM due WHERE now_due), 'true', 'false')),
    (SELECT min(at) FROM next),
    json((SELECT json_group_array(run_id) FROM runs WHERE owner = $4 AND mailbox_seq > mailbox_consumed)),
    json(iif(
        EXISTS (
            SELECT 1 FROM nodes WHERE alive = 0 OR (lease_until IS NOT NULL AND (boot_id <> $5 OR lease_until <= $6))
        ) OR EXISTS (
            SELECT 1 FROM owners
            WHERE owner IS NOT NULL AND NOT EXISTS (SELECT 1 FROM nodes WHERE node_id = owner AND alive = 1)
        ),
        'true', 'false'
    ))
)
