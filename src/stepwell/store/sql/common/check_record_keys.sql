-- Keys of indexes that name no record.
SELECT collection, id FROM record_keys AS k
WHERE NOT EXISTS (SELECT 1 FROM records AS r WHERE r.collection = k.collection AND r.id = k.id)
LIMIT $1
