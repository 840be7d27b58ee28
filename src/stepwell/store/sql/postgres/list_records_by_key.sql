-- Records of a collection by one of its indexes: their ids and sizes. JSON list of lists.
-- Differs because: PostgreSQL has its own words for JSON.
SELECT coalesce(json_agg(json_build_array(id, size)), '[]')::text FROM (
    SELECT r.id AS id, length(r.data) AS size
    FROM record_keys AS k JOIN records AS r ON r.collection = k.collection AND r.id = k.id
    WHERE k.collection = $1 AND k.number = $2 AND k.key >= $3 AND k.key < $4 AND {where} ORDER BY {order}
    LIMIT $5 OFFSET $6
) AS found
