-- The newest migration that is applied.
SELECT max(number) FROM migrations
