-- A new node, alive, without a lease.
INSERT INTO nodes (node_id, alive, batch, batch_id, lease_until, boot_id, info) VALUES ($1, 1, 0, '', NULL, $2, $3)
