-- Records of a collection by one of its indexes: their ids and sizes. JSON list of lists.
SELECT json_group_array(json_array(id, size)) FROM (
    SELECT r.id AS id, length(r.data) AS size
    FROM record_keys AS k CROSS JOIN records AS r ON r.collection = k.collection AND r.id = k.id
    WHERE k.collection = ?1 AND k.number = ?2 AND k.key >= ?3 AND k.key < ?4 AND {where} ORDER BY {order}
    LIMIT ?5 OFFSET ?6
)
