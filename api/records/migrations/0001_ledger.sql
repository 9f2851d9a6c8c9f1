-- The journal is what happened. The other tables say where it has come to, and can be made from it.
-- Ids are 16 bytes, big-endian. Amounts are micros, times nanoseconds since the epoch.

CREATE TABLE ledger_journal (
    sequence BIGINT NOT NULL PRIMARY KEY,
    bytes BYTEA NOT NULL,
    hash BYTEA NOT NULL
);

-- One row: whoever writes moves it from the sequence that it knows, so that two writers cannot both go on from there.
CREATE TABLE ledger_head (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    sequence BIGINT NOT NULL
);
INSERT INTO ledger_head (one, sequence) VALUES (1, 0);

-- `opened` is the entry that says what is fixed of the account.
CREATE TABLE ledger_accounts (
    id BYTEA NOT NULL PRIMARY KEY,
    opened BIGINT NOT NULL,
    debits_pending BIGINT NOT NULL,
    debits_posted BIGINT NOT NULL,
    credits_pending BIGINT NOT NULL,
    credits_posted BIGINT NOT NULL
);

-- Every id that was used, with the entry that used it. Only an open hold has `expires_at`.
CREATE TABLE ledger_transfers (
    id BYTEA NOT NULL PRIMARY KEY,
    sequence BIGINT NOT NULL,
    state BIGINT NOT NULL,
    expires_at BIGINT
);
CREATE INDEX ledger_transfers_due ON ledger_transfers (expires_at) WHERE expires_at IS NOT NULL;
