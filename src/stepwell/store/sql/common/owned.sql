-- What a node owns.
SELECT run_id, turn FROM runs WHERE owner = $1 ORDER BY workflow, version
