-- What a run has shown of itself last. As bytes: it may be unreadable.
SELECT cast(payload AS blob) FROM events WHERE run_id = $1 AND type = 'state_set' ORDER BY seq DESC LIMIT 1
