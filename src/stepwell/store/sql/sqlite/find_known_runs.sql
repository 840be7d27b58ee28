-- Runs by their ids, whole, with the hashes of their inputs. JSON list of [row, hash].
SELECT json_group_array(json_array(json_array({run}), input_hash))
FROM json_each($1) AS asked CROSS JOIN runs ON runs.run_id = asked.value
