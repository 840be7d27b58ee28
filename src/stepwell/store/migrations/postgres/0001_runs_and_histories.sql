-- Runs, their histories and mailboxes, and the nodes that execute them.
-- One statement a step, each of which may be run again. Keys are compared byte by byte, as on SQLite and faster than in the order
-- of a language. Rows of runs change with every commit: half of each page is kept free, so that a commit finds room for a new version
-- of every row beside the old one, no index is touched, and what is dead is swept often.

CREATE TABLE IF NOT EXISTS nodes (
    node_id TEXT NOT NULL PRIMARY KEY,
    alive BIGINT NOT NULL,
    batch BIGINT NOT NULL,
    batch_id TEXT NOT NULL,
    lease_until BIGINT,
    boot_id TEXT NOT NULL,
    info TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    workflow TEXT NOT NULL,
    version TEXT NOT NULL,
    status BIGINT NOT NULL,
    owner TEXT,
    turn BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    interruptions BIGINT NOT NULL,
    streak BIGINT NOT NULL,
    tries BIGINT NOT NULL,
    priority BIGINT NOT NULL,
    rank BIGINT NOT NULL,
    wanted BIGINT NOT NULL,
    undo BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    mailbox_seq BIGINT NOT NULL,
    mailbox_consumed BIGINT NOT NULL,
    wake_at BIGINT,
    deadline BIGINT,
    timeout_ms BIGINT,
    waiting_for TEXT,
    max_events BIGINT NOT NULL,
    tags TEXT NOT NULL,
    parent_run_id TEXT COLLATE "C",
    idempotency_key TEXT,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    completed_at BIGINT,
    updated_at BIGINT NOT NULL,
    input_hash TEXT NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

-- What is due, and when the next will be. `streak` is in it so that a claim steps over quarantined runs without reading them.
CREATE INDEX IF NOT EXISTS runs_due ON runs (workflow, version, status, wake_at, streak) WHERE owner IS NULL AND wake_at IS NOT NULL;

-- The queue of new runs: per priority in the order in which they are due.
CREATE INDEX IF NOT EXISTS runs_new ON runs (workflow, version, priority, wake_at, rank) WHERE status = 0;

CREATE INDEX IF NOT EXISTS runs_owned ON runs (owner, workflow, version) WHERE owner IS NOT NULL;
CREATE INDEX IF NOT EXISTS runs_mailed ON runs (owner) WHERE owner IS NOT NULL AND mailbox_seq > mailbox_consumed;
CREATE INDEX IF NOT EXISTS runs_late ON runs (deadline) WHERE deadline IS NOT NULL AND owner IS NULL;
CREATE INDEX IF NOT EXISTS runs_late_owned ON runs (deadline) WHERE deadline IS NOT NULL AND owner IS NOT NULL;

-- What is kept long enough, by when it ended: whatever else is kept is not looked at.
CREATE INDEX IF NOT EXISTS runs_over ON runs (workflow, version, completed_at, run_id) WHERE completed_at IS NOT NULL;

-- Lists, newest first. That of statuses has what is counted of runs in flight, so that their rows need not be read.
CREATE INDEX IF NOT EXISTS runs_by_age ON runs (created_at, run_id);
CREATE INDEX IF NOT EXISTS runs_by_workflow ON runs (workflow, created_at, run_id);
CREATE INDEX IF NOT EXISTS runs_by_status ON runs (status, created_at, run_id, workflow, version);
CREATE INDEX IF NOT EXISTS runs_by_parent ON runs (parent_run_id, created_at, run_id) WHERE parent_run_id IS NOT NULL;

-- Lists of runs with a tag. In a table of its own, which only runs with tags cost anything, and only when their tags change.
CREATE TABLE IF NOT EXISTS run_tags (
    run_id TEXT COLLATE "C" NOT NULL,
    tag TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (run_id, tag)
);

CREATE INDEX IF NOT EXISTS run_tags_by_tag ON run_tags (tag, created_at, run_id);

CREATE TABLE IF NOT EXISTS events (
    run_id TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    type TEXT NOT NULL,
    step_id TEXT NOT NULL,
    name TEXT NOT NULL,
    payload TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (run_id, seq)
);

-- Events from outside, by the id that their sender gave them.
CREATE INDEX IF NOT EXISTS events_from_outside ON events (run_id, step_id) WHERE step_id LIKE 'event:%';

-- What runs show of themselves.
CREATE INDEX IF NOT EXISTS events_state ON events (run_id, seq) WHERE type = 'state_set';

CREATE TABLE IF NOT EXISTS messages (
    run_id TEXT COLLATE "C" NOT NULL,
    mailbox_seq BIGINT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    message_id TEXT NOT NULL,
    payload TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (run_id, mailbox_seq)
);

CREATE UNIQUE INDEX IF NOT EXISTS messages_once ON messages (run_id, kind, message_id);

CREATE TABLE IF NOT EXISTS idempotency (
    workflow TEXT NOT NULL,
    key TEXT NOT NULL,
    run_id TEXT COLLATE "C" NOT NULL,
    input_hash TEXT NOT NULL,
    PRIMARY KEY (workflow, key)
);

-- Runs that wait for the end of others.
CREATE TABLE IF NOT EXISTS waiters (
    run_id TEXT COLLATE "C" NOT NULL,
    waiter TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (run_id, waiter)
);

CREATE INDEX IF NOT EXISTS waiters_by_waiter ON waiters (waiter);

-- How long runs are kept once they are over, as the workers of a workflow and version have said last: so it is known when no worker
-- knows them any more.
CREATE TABLE IF NOT EXISTS retention (
    workflow TEXT NOT NULL,
    version TEXT NOT NULL,
    kept_ms BIGINT,
    PRIMARY KEY (workflow, version)
);

-- What is asked of the outside, and what it has answered.
CREATE TABLE IF NOT EXISTS hooks (
    run_id TEXT COLLATE "C" NOT NULL,
    hook_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    name TEXT NOT NULL,
    action TEXT NOT NULL,
    payload TEXT NOT NULL,
    expires BIGINT,
    created_at BIGINT NOT NULL,
    answer_id TEXT,
    answer TEXT,
    answered_at BIGINT,
    PRIMARY KEY (run_id, hook_id)
);

-- Who may ask a server. Secrets are not kept, only their hashes.
CREATE TABLE IF NOT EXISTS api_keys (
    key_id TEXT COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    secret_hash TEXT NOT NULL,
    scopes TEXT NOT NULL,
    workflows TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    triggers_per_second BIGINT,
    expires_at BIGINT,
    revoked_at BIGINT,
    used_at BIGINT,
    PRIMARY KEY (key_id)
);

-- What stands for a key once, for some seconds. As of keys, only hashes are kept.
CREATE TABLE IF NOT EXISTS tickets (
    ticket_hash TEXT COLLATE "C" NOT NULL,
    key_id TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (ticket_hash)
);

-- What was done, by whom. Only ever appended to, but for what is too old to be kept.
CREATE TABLE IF NOT EXISTS audit (
    audit_id TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    address TEXT NOT NULL,
    result TEXT NOT NULL,
    PRIMARY KEY (audit_id)
);

-- Collections: what is settled for each (a JSON text), and how often it was written to.
CREATE TABLE IF NOT EXISTS collections (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    settled TEXT NOT NULL,
    seq BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS records (
    collection TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (collection, id)
);

-- The indexes of collections: keys that sort as the values do.
CREATE TABLE IF NOT EXISTS record_keys (
    collection TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (collection, number, key, id)
);

-- The latest writes to each collection, for who follows them and for who asks again what became of one.
CREATE TABLE IF NOT EXISTS record_changes (
    collection TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    write_id TEXT NOT NULL,
    changes TEXT NOT NULL,
    PRIMARY KEY (collection, seq)
);

CREATE INDEX IF NOT EXISTS record_changes_by_write ON record_changes (collection, write_id) WHERE write_id <> '';
