-- Take a lease that nobody holds any more, or that is this one's already.
UPDATE leases SET holder = $1, until = {now} + $2::bigint, fence = fence + 1
WHERE name = $3 AND (until <= {now} OR holder = $1)
