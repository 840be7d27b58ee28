-- A migration that is applied in this transaction.
INSERT INTO migrations (number, name, applied_at) VALUES ($1, $2, $3)
