-- Records that are no more, by collection and id.
-- Differs because: PostgreSQL has its own words for JSON.
DELETE FROM records USING jsonb_array_elements($1::jsonb) AS gone (value)
WHERE records.collection = gone.value ->> 0 AND records.id = gone.value ->> 1
