-- Collections by name. JSON list of lists, in the order of CollectionRow.
SELECT json_group_array(json_array(name, settled, seq, created_at, updated_at))
FROM json_each($1) AS asked CROSS JOIN collections ON collections.name = asked.value
