-- Records by collection and id. JSON list of lists.
SELECT json_group_array(json_array(records.collection, records.id, data))
FROM json_each($1) AS asked
CROSS JOIN records ON records.collection = asked.value ->> 0 AND records.id = asked.value ->> 1
