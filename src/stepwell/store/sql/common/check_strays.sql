-- Events, messages and tags belong to runs.
SELECT run_id, what FROM (
    SELECT DISTINCT run_id, 'events' AS what FROM events
    WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.run_id = events.run_id)
    UNION ALL
    SELECT DISTINCT run_id, 'messages' AS what FROM messages
    WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.run_id = messages.run_id)
    UNION ALL
    SELECT DISTINCT run_id, 'tags' AS what FROM run_tags
    WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.run_id = run_tags.run_id)
) AS stray
LIMIT $1
