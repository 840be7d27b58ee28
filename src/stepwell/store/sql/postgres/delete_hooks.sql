-- Hooks that were made in stretches of histories, to be removed: [run_id, after number, up to number].
-- Differs because: PostgreSQL has its own words for JSON.
DELETE FROM hooks USING jsonb_array_elements($1::jsonb) AS gone (value)
WHERE hooks.run_id = gone.value ->> 0
    AND hooks.seq > (gone.value ->> 1)::bigint AND hooks.seq <= (gone.value ->> 2)::bigint
