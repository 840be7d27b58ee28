-- Stretches of histories: [run_id, after seq, up to seq]. JSON list of [run_id, seq, type, step_id, name, payload, at].
SELECT cast(json_group_array(
    json_array(stored.run_id, stored.seq, stored.type, stored.step_id, stored.name, stored.payload, stored.at)
) AS blob)
FROM json_each($1) AS asked CROSS JOIN events AS stored
    ON stored.run_id = asked.value ->> 0 AND stored.seq > asked.value ->> 1 AND stored.seq <= asked.value ->> 2
