-- Those who waited for these runs were told; those of these that waited themselves do not any more.
DELETE FROM waiters WHERE run_id IN (SELECT value FROM json_each($1)) OR waiter IN (SELECT value FROM json_each($1))
