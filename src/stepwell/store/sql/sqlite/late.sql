-- Runs whose deadline has passed and that nobody owns. JSON list of run ids.
SELECT json_group_array(run_id) FROM (
    SELECT run_id FROM runs WHERE deadline <= $1 AND owner IS NULL ORDER BY deadline LIMIT $2
)
