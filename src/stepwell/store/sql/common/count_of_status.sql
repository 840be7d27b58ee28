-- How many runs have a status; counting ends at a number.
SELECT count(*) FROM (SELECT 1 FROM runs WHERE status = $1 LIMIT $2) AS found
