-- How many runs have a tag; counting ends at a number.
SELECT count(*) FROM (SELECT 1 FROM run_tags WHERE tag = $1 LIMIT $2) AS tagged
