-- Keys that records have no longer.
DELETE FROM record_keys WHERE (collection, number, key, id) IN (
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each($1)
)
