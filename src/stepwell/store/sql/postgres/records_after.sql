-- Records of a collection behind an id, in order. JSON list of lists.
-- Differs because: PostgreSQL has its own words for JSON.
SELECT coalesce(json_agg(json_build_array(id, data) ORDER BY id), '[]')::text FROM (
    SELECT id, data FROM records WHERE collection = $1 AND id > $2 ORDER BY id LIMIT $3
) AS found
