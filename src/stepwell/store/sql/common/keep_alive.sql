-- Renew the lease of a node that has not committed for a while.
UPDATE nodes SET lease_until = $1, boot_id = $2 WHERE node_id = $3 AND alive = 1
