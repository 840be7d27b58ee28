-- How many records of a collection fit.
-- Differs because: parameters are named otherwise.
SELECT count(*) FROM records AS r WHERE r.collection = $1 AND {where}
