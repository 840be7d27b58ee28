-- A node that stopped and owns nothing.
DELETE FROM nodes WHERE node_id = $1
