-- Distribute a table by a column, its rows beside those of another table ('none' for beside none).
-- Differs because: only a PostgreSQL can be one.
SELECT create_distributed_table($1::text::regclass, $2::text, colocate_with => $3::text)
