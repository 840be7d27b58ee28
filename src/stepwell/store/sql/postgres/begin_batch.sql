-- The identity of a batch: only a live node whose last batch is the one before may commit. Renews the lease on the way.
-- Differs because: leases are the server's time.
UPDATE nodes SET batch = batch + 1, batch_id = $1, lease_until = {now} + $2
WHERE node_id = $3 AND alive = 1 AND batch = $4
