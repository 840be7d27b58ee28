-- Which records have these keys. JSON list of lists.
SELECT json_group_array(json_array(record_keys.collection, record_keys.number, record_keys.key, record_keys.id))
FROM json_each($1) AS asked
CROSS JOIN record_keys ON record_keys.collection = asked.value ->> 0 AND record_keys.number = asked.value ->> 1
    AND record_keys.key = asked.value ->> 2
