-- Records of a collection: their ids and sizes. JSON list of lists.
-- Differs because: PostgreSQL has its own words for JSON.
SELECT coalesce(json_agg(json_build_array(id, size)), '[]')::text FROM (
    SELECT r.id AS id, length(r.data) AS size FROM records AS r WHERE r.collection = $1 AND {where} ORDER BY {order}
    LIMIT $2 OFFSET $3
) AS found
