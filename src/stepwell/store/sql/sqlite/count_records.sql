-- How many records of a collection fit.
SELECT count(*) FROM records AS r WHERE r.collection = ?1 AND {where}
