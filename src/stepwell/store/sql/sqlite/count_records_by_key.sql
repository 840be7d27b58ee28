-- How many records of a collection fit, by one of its indexes.
SELECT count(*)
FROM record_keys AS k CROSS JOIN records AS r ON r.collection = k.collection AND r.id = k.id
WHERE k.collection = ?1 AND k.number = ?2 AND k.key >= ?3 AND k.key < ?4 AND {where}
