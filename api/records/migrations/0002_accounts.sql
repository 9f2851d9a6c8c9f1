-- Who may call, with which keys, what they used, and what they were told. Money is only in the tables of the ledger.
-- Amounts are micros, times nanoseconds since the epoch, days are counted from the epoch in UTC.

-- Where the next block of small numbers begins, and how often something changed that other processes must hear of.
CREATE TABLE counters (
    name TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES
    ('version', 0), ('user', 1), ('key', 1), ('usage', 1), ('audit', 1), ('checkout', 1), ('stripe_listed', 0);

-- `aligned` is the day for which the allowance was last made what `cap` says, `alignments` how often that was done.
CREATE TABLE users (
    id BIGINT NOT NULL PRIMARY KEY,
    email TEXT NOT NULL UNIQUE,
    username TEXT NOT NULL,
    password TEXT,
    tier TEXT NOT NULL,
    cap BIGINT NOT NULL,
    created BIGINT NOT NULL,
    disabled BIGINT,
    aligned BIGINT NOT NULL,
    alignments BIGINT NOT NULL,
    version BIGINT NOT NULL
);
CREATE INDEX users_changed ON users (version);
CREATE INDEX users_of_tier ON users (tier);

-- `hash` is SHA-256 of the key, which itself is nowhere. `cap` is the limit of an account of the ledger.
CREATE TABLE api_keys (
    id BIGINT NOT NULL PRIMARY KEY,
    user_id BIGINT NOT NULL REFERENCES users (id),
    hash BYTEA NOT NULL UNIQUE,
    prefix TEXT NOT NULL,
    name TEXT NOT NULL,
    scope BIGINT NOT NULL,
    cap BIGINT,
    cidrs TEXT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT,
    revoked BIGINT,
    last_used BIGINT,
    version BIGINT NOT NULL
);
CREATE INDEX api_keys_of_user ON api_keys (user_id, id);
CREATE INDEX api_keys_changed ON api_keys (version);

-- One row for each attempt at a provider. What was charged for a request stands on one of its rows.
CREATE TABLE usage (
    id BIGINT NOT NULL PRIMARY KEY,
    user_id BIGINT NOT NULL,
    key_id BIGINT,
    request TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    created BIGINT NOT NULL,
    day BIGINT NOT NULL,
    endpoint TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    upstream_model TEXT NOT NULL,
    tokens_in BIGINT NOT NULL,
    tokens_cached BIGINT NOT NULL,
    tokens_out BIGINT NOT NULL,
    tokens_reasoning BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    latency_ms BIGINT NOT NULL,
    first_token_ms BIGINT,
    status TEXT NOT NULL,
    source TEXT NOT NULL,
    raw TEXT,
    UNIQUE (request, attempt)
);
CREATE INDEX usage_of_user ON usage (user_id, created, id);

-- What was charged a user on a day: the rolling cap is counted from these.
CREATE TABLE usage_days (
    user_id BIGINT NOT NULL,
    day BIGINT NOT NULL,
    micros BIGINT NOT NULL,
    PRIMARY KEY (user_id, day)
);

-- One row for each request that named its user.
CREATE TABLE audit (
    id BIGINT NOT NULL PRIMARY KEY,
    user_id BIGINT NOT NULL,
    key_id BIGINT,
    request TEXT NOT NULL,
    created BIGINT NOT NULL,
    method TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    status BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    latency_ms BIGINT NOT NULL,
    address TEXT NOT NULL
);
CREATE INDEX audit_of_user ON audit (user_id, created, id);
CREATE INDEX audit_old ON audit (created);

-- Answers that a repetition with the same Idempotency-Key gets. `name` is SHA-256 of that key, `answer` is sealed.
CREATE TABLE idempotency (
    user_id BIGINT NOT NULL,
    name BYTEA NOT NULL,
    fingerprint BYTEA NOT NULL,
    status BIGINT NOT NULL,
    answer BYTEA NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (user_id, name)
);
CREATE INDEX idempotency_old ON idempotency (created);

-- `session` and `url` are the provider's, and not known before it has answered.
CREATE TABLE checkouts (
    id BIGINT NOT NULL PRIMARY KEY,
    user_id BIGINT NOT NULL REFERENCES users (id),
    micros BIGINT NOT NULL,
    state BIGINT NOT NULL,
    session TEXT UNIQUE,
    url TEXT,
    payment TEXT,
    created BIGINT NOT NULL,
    changed BIGINT NOT NULL
);
CREATE INDEX checkouts_of_user ON checkouts (user_id, id);
CREATE INDEX checkouts_open ON checkouts (state, changed);

-- What a payment gave back so far. A provider says the sum each time, in any order.
CREATE TABLE stripe_refunds (
    payment TEXT NOT NULL PRIMARY KEY,
    user_id BIGINT NOT NULL,
    micros BIGINT NOT NULL
);

-- Events that had their effect.
CREATE TABLE stripe_events (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    created BIGINT NOT NULL
);
CREATE INDEX stripe_events_old ON stripe_events (created);

-- The entries of the journal that moved money of a user's account, which it took (below zero) or got.
CREATE TABLE ledger_lines (
    account BYTEA NOT NULL,
    time BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    micros BIGINT NOT NULL,
    PRIMARY KEY (account, time, sequence)
);
