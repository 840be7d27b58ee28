-- What a new connection must know of its server, and the time there.
-- Differs because: on SQLite all this is set when a file is opened.
SELECT current_setting('synchronous_commit', TRUE), current_setting('fsync', TRUE), current_setting('full_page_writes', TRUE),
    current_setting('server_version_num')::bigint, current_schema(), (extract(epoch FROM now()) * 1000)::bigint,
    (extract(epoch FROM pg_postmaster_start_time()) * 1000)::bigint, pg_is_in_recovery(), version()
