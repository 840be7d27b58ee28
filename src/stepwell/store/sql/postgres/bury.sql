-- Mark nodes dead: those known to be, and those whose lease is over; $2 and $3 are for leases in boot time, but a $3 below 0 says
-- that leases cannot be trusted now.
-- Differs because: leases are the server's time; and a node whose row is locked is committing, so it is not dead. The conditions
-- stand twice: a database without SKIP LOCKED waits for such a row, and then only reads again what is outside.
UPDATE nodes SET alive = 0, lease_until = NULL
WHERE alive = 1 AND (
    node_id IN (SELECT value FROM jsonb_array_elements_text($1::jsonb))
    OR (lease_until IS NOT NULL AND $2::text IS NOT NULL AND $3::bigint >= 0 AND lease_until <= {now})
) AND node_id IN (
    SELECT node_id FROM nodes
    WHERE alive = 1 AND (
        node_id IN (SELECT value FROM jsonb_array_elements_text($1::jsonb))
        OR (lease_until IS NOT NULL AND $2::text IS NOT NULL AND $3::bigint >= 0 AND lease_until <= {now})
    )
    FOR UPDATE SKIP LOCKED
)
