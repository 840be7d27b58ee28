-- Stretches of histories, to be removed: [run_id, after number, up to number].
-- Differs because: PostgreSQL has its own words for JSON.
DELETE FROM events USING jsonb_array_elements($1::jsonb) AS gone (value)
WHERE events.run_id = gone.value ->> 0
    AND events.seq > (gone.value ->> 1)::bigint AND events.seq <= (gone.value ->> 2)::bigint
