-- Change what a run is called, where it stands in the queue, and how far it may go. What is NULL stays as it is.
UPDATE runs SET
    tags = coalesce($1, tags), rank = rank - (coalesce($2, priority) - priority) * $3, priority = coalesce($2, priority),
    max_events = coalesce($4, max_events), timeout_ms = coalesce($5, timeout_ms), updated_at = $6
WHERE run_id = $7
