-- All that a node asks when it asks: is it alive, is anything due, when will the next be, has it mail, are there orphans?
-- $1 known workflows, $2 now, $3 a lease, $4 the node. JSON list, in the order of Poll; and the server's time.
-- Reads all that is due or waits for its time.
-- Differs because: questions that jump through an index are not understood.
WITH known AS MATERIALIZED (
    SELECT value ->> 0 AS workflow, value ->> 1 AS version FROM jsonb_array_elements($1::jsonb) AS asked (value)
),
due (now_due, next_due) AS (
    SELECT count(*) FILTER (WHERE runs.wake_at <= $2) > 0, min(runs.wake_at) FILTER (WHERE runs.wake_at > $2)
    FROM known JOIN runs ON runs.workflow = known.workflow AND runs.version = known.version
    WHERE runs.owner IS NULL AND runs.wake_at IS NOT NULL AND runs.status IN (0, 1)
),
next (at) AS (
    SELECT next_due FROM due
    UNION ALL SELECT min(deadline) FROM runs WHERE deadline IS NOT NULL AND owner IS NULL
    UNION ALL SELECT min(deadline) + $3::bigint FROM runs WHERE deadline IS NOT NULL AND owner IS NOT NULL
)
SELECT json_build_array(json_build_array(
    EXISTS (SELECT 1 FROM nodes WHERE node_id = $4 AND alive = 1),
    (SELECT now_due FROM due),
    (SELECT min(at) FROM next),
    coalesce((SELECT json_agg(run_id) FROM runs WHERE owner = $4 AND mailbox_seq > mailbox_consumed), '[]'),
    EXISTS (
        SELECT 1 FROM nodes WHERE alive = 0 OR (lease_until IS NOT NULL AND lease_until <= $2)
    ) OR EXISTS (
        SELECT owner FROM runs WHERE owner IS NOT NULL
        EXCEPT
        SELECT node_id FROM nodes WHERE alive = 1
    )
), {now})::text
