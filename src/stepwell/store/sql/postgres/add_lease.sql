-- A lease that nobody holds.
INSERT INTO leases (name, holder, until, fence) VALUES ($1, '', 0, 0) ON CONFLICT DO NOTHING
