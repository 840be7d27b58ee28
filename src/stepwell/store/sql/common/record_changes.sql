-- What was written to a collection behind a place, in order.
SELECT seq, changes FROM record_changes WHERE collection = $1 AND seq > $2 ORDER BY seq LIMIT $3
