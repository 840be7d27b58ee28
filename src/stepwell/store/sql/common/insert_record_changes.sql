-- What was written to collections, in order.
INSERT INTO record_changes (collection, seq, write_id, changes) VALUES {rows}
