-- Whether a write was done: a list with its place, or an empty one.
SELECT json_group_array(seq) FROM record_changes WHERE collection = $1 AND write_id = $2 AND write_id <> ''
