-- Runs that begin to wait for others. One that waits already waits once.
INSERT INTO waiters (run_id, waiter) VALUES {rows} ON CONFLICT DO NOTHING
