-- What became of a node's last batch.
SELECT alive, batch, batch_id FROM nodes WHERE node_id = $1
