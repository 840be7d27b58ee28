-- Runs of dead owners. JSON list of run ids.
SELECT json_group_array(run_id) FROM (
    SELECT runs.run_id AS run_id
    FROM json_each($1) AS dead CROSS JOIN runs ON runs.owner = dead.value
    LIMIT $2
)
