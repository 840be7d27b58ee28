-- Whether a node's last batch is the one with this id.
-- Differs because: on SQLite the statement that begins a batch tells.
SELECT 1 FROM nodes WHERE node_id = $1 AND batch_id = $2
