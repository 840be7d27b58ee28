-- Runs, their histories and mailboxes, and the nodes that execute them.
-- WITHOUT ROWID where the key is all that rows are looked up by. Not for events: a batch adds one event to each of a thousand
-- runs, and then rows side by side in the order of arrival dirty half the pages (measured: 145,000 rows a second against 75,000).

CREATE TABLE nodes (
    node_id TEXT NOT NULL PRIMARY KEY,
    alive INTEGER NOT NULL,
    batch INTEGER NOT NULL,
    batch_id TEXT NOT NULL,
    lease_until INTEGER,
    boot_id TEXT NOT NULL,
    info TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
    run_id TEXT NOT NULL PRIMARY KEY,
    workflow TEXT NOT NULL,
    version TEXT NOT NULL,
    status INTEGER NOT NULL,
    owner TEXT,
    turn INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    interruptions INTEGER NOT NULL,
    streak INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    wanted INTEGER NOT NULL,
    undo INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    mailbox_seq INTEGER NOT NULL,
    mailbox_consumed INTEGER NOT NULL,
    wake_at INTEGER,
    deadline INTEGER,
    timeout_ms INTEGER,
    waiting_for TEXT,
    max_events INTEGER NOT NULL,
    tags TEXT NOT NULL,
    parent_run_id TEXT,
    idempotency_key TEXT,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    completed_at INTEGER,
    updated_at INTEGER NOT NULL,
    input_hash TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What is due, and when the next will be. `streak` is in it so that a claim steps over quarantined runs without reading them.
CREATE INDEX runs_due ON runs (workflow, version, status, wake_at, streak) WHERE owner IS NULL AND wake_at IS NOT NULL;

-- The queue of new runs: per priority in the order in which they are due.
CREATE INDEX runs_new ON runs (workflow, version, priority, wake_at, rank) WHERE status = 0;

CREATE INDEX runs_owned ON runs (owner, workflow, version) WHERE owner IS NOT NULL;
CREATE INDEX runs_mailed ON runs (owner) WHERE owner IS NOT NULL AND mailbox_seq > mailbox_consumed;
CREATE INDEX runs_late ON runs (deadline) WHERE deadline IS NOT NULL AND owner IS NULL;
CREATE INDEX runs_late_owned ON runs (deadline) WHERE deadline IS NOT NULL AND owner IS NOT NULL;

-- What is kept long enough, by when it ended: whatever else is kept is not looked at.
CREATE INDEX runs_over ON runs (workflow, version, completed_at, run_id) WHERE completed_at IS NOT NULL;

-- Lists, newest first. That of statuses has what is counted of runs in flight, so that their rows need not be read.
CREATE INDEX runs_by_age ON runs (created_at, run_id);
CREATE INDEX runs_by_workflow ON runs (workflow, created_at, run_id);
CREATE INDEX runs_by_status ON runs (status, created_at, run_id, workflow, version);
CREATE INDEX runs_by_parent ON runs (parent_run_id, created_at, run_id) WHERE parent_run_id IS NOT NULL;

-- Lists of runs with a tag. In a table of its own, which only runs with tags cost anything, and only when their tags change.
CREATE TABLE run_tags (
    run_id TEXT NOT NULL,
    tag TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (run_id, tag)
) STRICT, WITHOUT ROWID;

CREATE INDEX run_tags_by_tag ON run_tags (tag, created_at, run_id);

CREATE TABLE events (
    run_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    type TEXT NOT NULL,
    step_id TEXT NOT NULL,
    name TEXT NOT NULL,
    payload TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (run_id, seq)
) STRICT;

-- Events from outside, by the id that their sender gave them.
CREATE INDEX events_from_outside ON events (run_id, step_id) WHERE step_id >= 'event:' AND step_id < 'event;';

-- What runs show of themselves.
CREATE INDEX events_state ON events (run_id, seq) WHERE type = 'state_set';

CREATE TABLE messages (
    run_id TEXT NOT NULL,
    mailbox_seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    message_id TEXT NOT NULL,
    payload TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (run_id, mailbox_seq)
) STRICT;

CREATE UNIQUE INDEX messages_once ON messages (run_id, kind, message_id);

CREATE TABLE idempotency (
    workflow TEXT NOT NULL,
    key TEXT NOT NULL,
    run_id TEXT NOT NULL,
    input_hash TEXT NOT NULL,
    PRIMARY KEY (workflow, key)
) STRICT, WITHOUT ROWID;

-- Runs that wait for the end of others.
CREATE TABLE waiters (
    run_id TEXT NOT NULL,
    waiter TEXT NOT NULL,
    PRIMARY KEY (run_id, waiter)
) STRICT, WITHOUT ROWID;

CREATE INDEX waiters_by_waiter ON waiters (waiter);

-- How long runs are kept once they are over, as the workers of a workflow and version have said last: so it is known when no worker
-- knows them any more.
CREATE TABLE retention (
    workflow TEXT NOT NULL,
    version TEXT NOT NULL,
    kept_ms INTEGER,
    PRIMARY KEY (workflow, version)
) STRICT, WITHOUT ROWID;

-- What is asked of the outside, and what it has answered.
CREATE TABLE hooks (
    run_id TEXT NOT NULL,
    hook_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    name TEXT NOT NULL,
    action TEXT NOT NULL,
    payload TEXT NOT NULL,
    expires INTEGER,
    created_at INTEGER NOT NULL,
    answer_id TEXT,
    answer TEXT,
    answered_at INTEGER,
    PRIMARY KEY (run_id, hook_id)
) STRICT, WITHOUT ROWID;

-- Who may ask a server. Secrets are not kept, only their hashes.
CREATE TABLE api_keys (
    key_id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    secret_hash TEXT NOT NULL,
    scopes TEXT NOT NULL,
    workflows TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    triggers_per_second INTEGER,
    expires_at INTEGER,
    revoked_at INTEGER,
    used_at INTEGER
) STRICT, WITHOUT ROWID;

-- What stands for a key once, for some seconds. As of keys, only hashes are kept.
CREATE TABLE tickets (
    ticket_hash TEXT NOT NULL PRIMARY KEY,
    key_id TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What was done, by whom. Only ever appended to, but for what is too old to be kept.
CREATE TABLE audit (
    audit_id TEXT NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    address TEXT NOT NULL,
    result TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Collections: what is settled for each (a JSON text), and how often it was written to.
CREATE TABLE collections (
    name TEXT NOT NULL PRIMARY KEY,
    settled TEXT NOT NULL,
    seq INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE records (
    collection TEXT NOT NULL,
    id TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (collection, id)
) STRICT;

-- The indexes of collections: keys that sort as the values do.
CREATE TABLE record_keys (
    collection TEXT NOT NULL,
    number INTEGER NOT NULL,
    key TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (collection, number, key, id)
) STRICT, WITHOUT ROWID;

-- The latest writes to each collection, for who follows them and for who asks again what became of one.
CREATE TABLE record_changes (
    collection TEXT NOT NULL,
    seq INTEGER NOT NULL,
    write_id TEXT NOT NULL,
    changes TEXT NOT NULL,
    PRIMARY KEY (collection, seq)
) STRICT;

CREATE INDEX record_changes_by_write ON record_changes (collection, write_id) WHERE write_id <> '';
