-- The keys of an index that is no more, some at a time.
DELETE FROM record_keys WHERE collection = $1 AND number = $2 AND (key, id) IN (
    SELECT key, id FROM record_keys WHERE collection = $1 AND number = $2 ORDER BY key, id LIMIT $3
)
