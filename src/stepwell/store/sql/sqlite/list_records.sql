-- Records of a collection: their ids and sizes. JSON list of lists.
SELECT json_group_array(json_array(id, size)) FROM (
    SELECT r.id AS id, length(r.data) AS size FROM records AS r WHERE r.collection = ?1 AND {where} ORDER BY {order}
    LIMIT ?2 OFFSET ?3
)
