-- How long runs are kept that are not kept for ever.
SELECT workflow, version, kept_ms FROM retention WHERE kept_ms IS NOT NULL
