-- What a node says about itself.
UPDATE nodes SET info = $1 WHERE node_id = $2
