-- Runs of dead owners that this node's workers could take. JSON list of run ids.
SELECT json_group_array(run_id) FROM (
    SELECT runs.run_id AS run_id
    FROM json_each($1) AS dead CROSS JOIN json_each($2) AS known CROSS JOIN runs
        ON runs.owner = dead.value AND runs.workflow = known.value ->> 0 AND runs.version = known.value ->> 1
    LIMIT $3
)
