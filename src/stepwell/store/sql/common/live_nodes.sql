-- The nodes that nobody has buried, and what they say about themselves. A handful of rows.
SELECT node_id, info FROM nodes WHERE alive = 1
