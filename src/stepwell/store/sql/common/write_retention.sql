-- How long runs are kept once they are over, as the workers of a workflow and version have said last. NULL: for ever.
INSERT INTO retention (workflow, version, kept_ms) VALUES {rows}
ON CONFLICT (workflow, version) DO UPDATE SET kept_ms = excluded.kept_ms
