-- Records and changes of collections that have no row, or that have counted less far.
SELECT DISTINCT collection, 'records' FROM records
WHERE NOT EXISTS (SELECT 1 FROM collections WHERE collections.name = records.collection)
UNION ALL
SELECT DISTINCT collection, 'changes' FROM record_changes
WHERE NOT EXISTS (
    SELECT 1 FROM collections WHERE collections.name = record_changes.collection AND collections.seq >= record_changes.seq
)
LIMIT $1
