-- Records of a collection behind an id, in order. JSON list of lists.
SELECT json_group_array(json_array(id, data)) FROM (
    SELECT id, data FROM records WHERE collection = $1 AND id > $2 ORDER BY id LIMIT $3
)
