-- Give a lease back.
UPDATE leases SET until = 0 WHERE name = $1 AND holder = $2
