-- What was done too long ago to be kept. Ids begin with their time, so the oldest are found by the key.
DELETE FROM audit WHERE audit_id < $1
