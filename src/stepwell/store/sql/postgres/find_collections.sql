-- Collections by name, locked in the order of their names. JSON list of lists, in the order of CollectionRow.
-- Differs because: others write at the same time, and PostgreSQL has its own words for JSON.
SELECT coalesce(json_agg(json_build_array(name, settled, seq, created_at, updated_at)), '[]')::text FROM (
    SELECT name, settled, seq, created_at, updated_at FROM collections
    WHERE name IN (SELECT value FROM jsonb_array_elements_text($1::jsonb))
    ORDER BY name FOR UPDATE
) AS locked
