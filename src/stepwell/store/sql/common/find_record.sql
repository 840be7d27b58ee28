-- One record.
SELECT data FROM records WHERE collection = $1 AND id = $2
