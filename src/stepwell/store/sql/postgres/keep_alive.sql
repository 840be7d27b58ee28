-- Renew the lease of a node that has not committed for a while.
-- Differs because: leases are the server's time.
UPDATE nodes SET lease_until = {now} + $1::bigint WHERE node_id = $2 AND alive = 1
