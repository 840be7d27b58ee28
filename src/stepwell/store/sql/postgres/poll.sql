-- All that a node asks when it asks: is it alive, is anything due, when will the next be, has it mail, are there orphans?
-- $1 known workflows, $2 now, $3 a lease, $4 the node. JSON list, in the order of Poll; and the server's time.
-- Differs because: leases are the server's time.
WITH RECURSIVE owners (owner) AS (
    SELECT min(owner) FROM runs WHERE owner IS NOT NULL
    UNION ALL
    SELECT (SELECT min(runs.owner) FROM runs WHERE runs.owner > owners.owner) FROM owners WHERE owners.owner IS NOT NULL
),
known (workflow, version, status) AS (
    SELECT value ->> 0, value ->> 1, status
    FROM jsonb_array_elements($1::jsonb) AS asked (value) CROSS JOIN (VALUES (0), (1)) AS statuses (status)
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
    UNION ALL SELECT min(deadline) + $3::bigint FROM runs WHERE deadline IS NOT NULL AND owner IS NOT NULL
)
SELECT json_build_array(json_build_array(
    EXISTS (SELECT 1 FROM nodes WHERE node_id = $4 AND alive = 1),
    EXISTS (SELECT 1 FROM due WHERE now_due),
    (SELECT min(at) FROM next),
    coalesce((SELECT json_agg(run_id) FROM runs WHERE owner = $4 AND mailbox_seq > mailbox_consumed), '[]'),
    EXISTS (
        SELECT 1 FROM nodes WHERE alive = 0 OR (lease_until IS NOT NULL AND lease_until <= $2)
    ) OR EXISTS (
        SELECT 1 FROM owners
        WHERE owner IS NOT NULL AND NOT EXISTS (SELECT 1 FROM nodes WHERE node_id = owner AND alive = 1)
    )
), {now})::text
