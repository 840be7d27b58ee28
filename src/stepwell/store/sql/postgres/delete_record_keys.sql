-- Keys that records have no longer.
-- Differs because: PostgreSQL has its own words for JSON.
DELETE FROM record_keys USING jsonb_array_elements($1::jsonb) AS gone (value)
WHERE record_keys.collection = gone.value ->> 0 AND record_keys.number = (gone.value ->> 1)::bigint
    AND record_keys.key = gone.value ->> 2 AND record_keys.id = gone.value ->> 3
