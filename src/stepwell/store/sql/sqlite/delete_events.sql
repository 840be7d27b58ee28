-- Stretches of histories, to be removed: [run_id, after number, up to number].
DELETE FROM events WHERE (run_id, seq) IN (
    SELECT gone.run_id, gone.seq FROM json_each($1) AS asked CROSS JOIN events AS gone
        ON gone.run_id = asked.value ->> 0 AND gone.seq > asked.value ->> 1 AND gone.seq <= asked.value ->> 2
)
