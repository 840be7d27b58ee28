-- What changes when another node commits a batch, and not when it only renews its lease.
SELECT cast(count(*) AS text) || '/' || cast(coalesce(sum(batch), 0) AS text) FROM nodes WHERE node_id <> $1
