-- Lock collections by writing them as they are; `find_collections` reads them next.
-- Differs because: rows of several machines cannot be locked in one SELECT.
UPDATE collections SET seq = collections.seq
FROM (SELECT value AS name FROM jsonb_array_elements_text($1::jsonb) ORDER BY value) AS asked
WHERE collections.name = asked.name
