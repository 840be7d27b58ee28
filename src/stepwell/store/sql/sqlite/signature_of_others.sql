-- What changes when another node commits a batch, and not when it only renews its lease.
SELECT count(*) || '/' || coalesce(sum(batch), 0) FROM nodes WHERE node_id <> $1
