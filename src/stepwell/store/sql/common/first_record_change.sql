-- Where what is remembered of a collection begins.
SELECT min(seq) FROM record_changes WHERE collection = $1
