-- The identity of a batch: only a live node whose last batch is the one before may commit. Renews the lease on the way.
UPDATE nodes SET batch = batch + 1, batch_id = $1, lease_until = $2, boot_id = $3
WHERE node_id = $4 AND alive = 1 AND batch = $5
