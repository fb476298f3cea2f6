//! The tables, and the migration of files of older versions.

use rusqlite::{Connection, TransactionBehavior};

use super::store_error::StoreError;

/// SQLite's application id of a ledger: "lstw".
pub(super) const APPLICATION: i32 = 0x6c73_7477;

/// One migration per version; the first turns an empty file into version 1. Never edit a released
/// step; a change is a new step.
pub(super) const STEPS: &[&str] = &[VERSION_1, VERSION_2, VERSION_3, VERSION_4];

const VERSION_1: &str = "
-- One row: what holds for the whole ledger.
CREATE TABLE ledger (
    sequence INTEGER NOT NULL,      -- the highest number in the order of commits
    removed INTEGER NOT NULL,       -- the highest number that gave way to retention
    alive_at TEXT NOT NULL,         -- when the process that writes was last known to be alive
    closed INTEGER NOT NULL,        -- 1 once that process stopped in order
    attempt_bytes INTEGER NOT NULL  -- what the table of attempts takes, estimated
);
INSERT INTO ledger VALUES (0, 0, '1970-01-01T00:00:00.000Z', 1, 0);

-- Connections that are open, or were when the process died; run tells its processes apart.
CREATE TABLE open_connections (
    sequence INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    id TEXT NOT NULL,
    opened_at TEXT NOT NULL,
    record TEXT NOT NULL
);

-- Endings of connections, in the order of their commit.
CREATE TABLE endings (
    sequence INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    ended_at TEXT NOT NULL,
    kind TEXT NOT NULL,
    fault TEXT NOT NULL,
    cause TEXT NOT NULL,
    close_code INTEGER,
    route TEXT,
    subject TEXT,
    peer TEXT,
    path TEXT,
    user_agent TEXT,
    record TEXT NOT NULL
);
CREATE INDEX endings_by_short_id ON endings (substr(id, 25));
CREATE INDEX endings_by_ended_at ON endings (ended_at);
CREATE INDEX endings_by_peer ON endings (peer) WHERE peer IS NOT NULL;
CREATE INDEX endings_by_subject ON endings (subject) WHERE subject IS NOT NULL;

-- Attempts that never became a connection, in the same order.
CREATE TABLE attempts (
    sequence INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    ended_at TEXT NOT NULL,
    open_failure TEXT NOT NULL,
    fault TEXT NOT NULL,
    cause TEXT NOT NULL,
    route TEXT,
    subject TEXT,
    peer TEXT,
    path TEXT,
    user_agent TEXT,
    size INTEGER NOT NULL,
    record TEXT NOT NULL
);
CREATE INDEX attempts_by_short_id ON attempts (substr(id, 25));
CREATE INDEX attempts_by_ended_at ON attempts (ended_at);
CREATE INDEX attempts_by_peer ON attempts (peer) WHERE peer IS NOT NULL;
CREATE INDEX attempts_by_subject ON attempts (subject) WHERE subject IS NOT NULL;

-- Attempts beyond ledger.open_failed_per_second.
CREATE TABLE counted_attempts (
    minute TEXT NOT NULL,
    listener TEXT NOT NULL,
    open_failure TEXT NOT NULL,
    network TEXT NOT NULL,
    fault TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (minute, listener, open_failure, network)
) WITHOUT ROWID;
";

const VERSION_2: &str = "
-- Revocations, until they expire or are withdrawn.
CREATE TABLE revocations (
    number INTEGER PRIMARY KEY,
    subject TEXT,                   -- of these two one is given
    token_id TEXT,
    issued_before TEXT,             -- only with a subject
    created_at TEXT NOT NULL,
    expires_at TEXT,
    requested_by TEXT
);
CREATE INDEX revocations_by_expires_at ON revocations (expires_at) WHERE expires_at IS NOT NULL;

-- The highest number of a revocation that was ever assigned.
ALTER TABLE ledger ADD COLUMN last_revocation INTEGER NOT NULL DEFAULT 0;
";

const VERSION_3: &str = "
-- The network that an ending is counted for, and its size. Both are null in rows of older versions,
-- and no row is rewritten here.
ALTER TABLE endings ADD COLUMN network TEXT;
ALTER TABLE endings ADD COLUMN size INTEGER;

-- The network that the ending will be counted for.
ALTER TABLE open_connections ADD COLUMN network TEXT;

-- What the endings of the networks take, as far as they are counted.
CREATE TABLE networks (
    network TEXT PRIMARY KEY,
    bytes INTEGER NOT NULL,         -- the size of its endings from this number on
    first INTEGER NOT NULL
) WITHOUT ROWID;
";

const VERSION_4: &str = "
-- Counts by kind, fault and cause over time are read from the indexes alone.
CREATE INDEX endings_over_time ON endings (ended_at, kind, fault, cause);
DROP INDEX endings_by_ended_at;
CREATE INDEX attempts_over_time ON attempts (ended_at, fault, cause);
DROP INDEX attempts_by_ended_at;
";

/// Migrates a file to the version of the last step, each step in its own transaction.
///
/// A file of a newer version or of another program is not touched.
pub(super) fn migrate(connection: &mut Connection, steps: &[&str]) -> Result<(), StoreError> {
    let found = number(connection, "user_version")?;
    let known = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let ours = number(connection, "application_id")? == i64::from(APPLICATION);
    match (tables > 0, ours) {
        (true, true) if found > known => return Err(StoreError::Newer { found, known }),
        (true, false) => return Err(StoreError::Foreign),
        (true, true) | (false, _) => {}
    }
    // An index of a large table is sorted, and a container may have no directory for temporary files.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // This pragma takes effect only before the first table is created.
    if tables == 0 {
        connection.pragma_update(None, "application_id", APPLICATION)?;
    }
    let done = if tables == 0 { 0 } else { usize::try_from(found).unwrap_or(0) };
    if (1..steps.len()).contains(&done) {
        tracing::info!(
            from = found,
            to = known,
            "upgrading the ledger; with a million endings this takes some seconds"
        );
    }
    for (index, step) in steps.iter().enumerate().skip(done) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", index as i64 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, pragma, |row| row.get(0))
}
