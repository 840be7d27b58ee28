-- Runs by their ids, whole, with the hashes of their inputs. JSON list of [row, hash].
-- Differs because: PostgreSQL has its own words for JSON.
SELECT coalesce(json_agg(json_build_array(json_build_array({run}), input_hash)), '[]')::text
FROM runs WHERE run_id IN (SELECT value FROM jsonb_array_elements_text($1::jsonb))
