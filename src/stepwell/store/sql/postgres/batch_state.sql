-- What became of a node's last batch.
-- Differs because: the commit that is asked about may still be under way, on a connection that was lost.
SELECT alive, batch, batch_id FROM nodes WHERE node_id = $1 FOR UPDATE
