-- Which records have these keys. JSON list of lists.
-- Differs because: PostgreSQL has its own words for JSON.
SELECT coalesce(json_agg(json_build_array(
    record_keys.collection, record_keys.number, record_keys.key, record_keys.id
)), '[]')::text
FROM jsonb_array_elements($1::jsonb) AS asked (value)
JOIN record_keys ON record_keys.collection = asked.value ->> 0 AND record_keys.number = (asked.value ->> 1)::bigint
    AND record_keys.key = asked.value ->> 2
