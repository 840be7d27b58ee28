-- Mark nodes dead: those known to be, and those whose lease is over. A lease of another boot is over.
-- Differs because: leases are boot time, which means nothing on another machine.
UPDATE nodes SET alive = 0, lease_until = NULL
WHERE alive = 1 AND (
    node_id IN (SELECT value FROM json_each($1))
    OR (lease_until IS NOT NULL AND (boot_id <> $2 OR lease_until <= $3))
)
