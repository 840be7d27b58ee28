-- New runs.
-- Differs because: all rows come as one JSON list of lists, which PostgreSQL reads fastest.
INSERT INTO runs ({run}, input_hash)
SELECT value ->> 0, value ->> 1, value ->> 2, (value ->> 3)::bigint, value ->> 4, (value ->> 5)::bigint,
    (value ->> 6)::bigint, (value ->> 7)::bigint, (value ->> 8)::bigint, (value ->> 9)::bigint, (value ->> 10)::bigint,
    (value ->> 11)::bigint, (value ->> 12)::bigint, (value ->> 13)::bigint, (value ->> 14)::bigint, (value ->> 15)::bigint,
    (value ->> 16)::bigint, (value ->> 17)::bigint, (value ->> 18)::bigint, (value ->> 19)::bigint, value ->> 20,
    (value ->> 21)::bigint, value ->> 22, value ->> 23, value ->> 24, (value ->> 25)::bigint, (value ->> 26)::bigint,
    (value ->> 27)::bigint, (value ->> 28)::bigint, value ->> 29
FROM jsonb_array_elements($1::jsonb) AS given (value)
