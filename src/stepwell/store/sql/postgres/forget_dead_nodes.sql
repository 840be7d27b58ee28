-- Delete the dead nodes that no run names any more.
-- Differs because: another node may be doing the same, and nobody waits for it.
DELETE FROM nodes WHERE node_id IN (
    SELECT node_id FROM nodes
    WHERE alive = 0 AND node_id IN (SELECT value FROM jsonb_array_elements_text($1::jsonb))
    FOR UPDATE SKIP LOCKED
)
