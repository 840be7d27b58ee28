-- Whether tables can be distributed here: this is a Citus, and its extension is made in this database.
-- Differs because: only a PostgreSQL can be one.
SELECT to_regproc('create_distributed_table') IS NOT NULL AND to_regclass('pg_dist_partition') IS NOT NULL
