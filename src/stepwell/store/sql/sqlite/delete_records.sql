-- Records that are no more, by collection and id.
DELETE FROM records WHERE (collection, id) IN (SELECT value ->> 0, value ->> 1 FROM json_each($1))
