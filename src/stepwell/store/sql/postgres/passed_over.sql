-- Whether runs are due that a claim has not taken, because others have locked them. $1 known workflows, $2 now, $3 runs that have
-- lost their worker so often in a row do not count.
-- Differs because: only where others claim at the same time something is passed over.
SELECT to_json(EXISTS (
    SELECT 1 FROM jsonb_array_elements($1::jsonb) AS known (value)
    CROSS JOIN (VALUES (0), (1)) AS statuses (status)
    JOIN runs ON runs.workflow = value ->> 0 AND runs.version = value ->> 1 AND runs.status = statuses.status
    WHERE owner IS NULL AND wake_at IS NOT NULL AND wake_at <= $2 AND streak < $3
))::text
