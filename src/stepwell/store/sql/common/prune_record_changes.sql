-- Forget old changes of a collection, some at a time.
DELETE FROM record_changes WHERE collection = $1 AND seq <= $2
