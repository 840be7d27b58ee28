-- Records by collection and id. JSON list of lists.
-- Differs because: PostgreSQL has its own words for JSON.
SELECT coalesce(json_agg(json_build_array(records.collection, records.id, data) ORDER BY asked.place), '[]')::text
FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS asked (value, place)
JOIN records ON records.collection = asked.value ->> 0 AND records.id = asked.value ->> 1
