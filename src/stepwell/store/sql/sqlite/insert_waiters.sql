-- Runs that begin to wait for others. One that waits already waits once.
INSERT OR IGNORE INTO waiters (run_id, waiter) VALUES {rows}
