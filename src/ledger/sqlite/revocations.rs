//! The table of revocations.

use std::sync::Arc;
use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::rows::{number, text_of, time_of};
use crate::ledger::revocation_table::RevocationTable;
use crate::vocabulary::{Requester, Revocation, RevocationChange, RevocationTarget};

impl RevocationTable {
    /// Reads the table of a file.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let last: i64 =
            connection.query_row("SELECT last_revocation FROM ledger", [], |row| row.get(0))?;
        let mut query = connection.prepare(
            "SELECT number, subject, token_id, issued_before, created_at, expires_at, requested_by \
             FROM revocations ORDER BY number",
        )?;
        let rows = query.query_map([], revocation)?;
        let rows = rows
            .filter_map(Result::transpose)
            .map(|row| row.map(|revocation| (revocation.number, Arc::new(revocation))))
            .collect::<rusqlite::Result<_>>()?;
        Ok(Self { last: u64::try_from(last).unwrap_or(0), rows })
    }

    /// Makes the table of a file match this one.
    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut query = connection.prepare("SELECT number FROM revocations")?;
        let found: Vec<i64> =
            query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        for stray in found.iter().filter(|row| !self.rows.contains_key(&row.unsigned_abs())) {
            connection
                .prepare_cached("DELETE FROM revocations WHERE number = ?")?
                .execute([stray])?;
        }
        // Also those that are there: in a file that was put in the place of the ledger's, the same
        // number may stand for something else.
        for revocation in self.rows.values() {
            insert(connection, revocation)?;
        }
        raise_last(connection, self.last)
    }
}

/// Writes a change in the transaction that is open.
pub(super) fn write(connection: &Connection, change: &RevocationChange) -> rusqlite::Result<()> {
    match change {
        RevocationChange::Made(revocation) => {
            insert(connection, revocation)?;
            raise_last(connection, revocation.number)
        }
        RevocationChange::Withdrawn { revocation, .. } => connection
            .prepare_cached("DELETE FROM revocations WHERE number = ?")?
            .execute([number(revocation.number)])
            .map(drop),
    }
}

/// Removes up to so many rows that have expired; returns how many.
pub(super) fn remove_expired(
    connection: &Connection,
    now: SystemTime,
    most: u64,
) -> rusqlite::Result<u64> {
    let now = text_of(now);
    // Without this look, each call would wait for the right to write.
    let expired: Option<i64> = connection
        .prepare_cached("SELECT 1 FROM revocations WHERE expires_at <= ? LIMIT 1")?
        .query_row([&now], |row| row.get(0))
        .optional()?;
    if expired.is_none() {
        return Ok(0);
    }
    let removed = connection
        .prepare_cached(
            "DELETE FROM revocations WHERE number IN \
             (SELECT number FROM revocations WHERE expires_at <= ? LIMIT ?)",
        )?
        .execute(params![&now, number(most)])?;
    Ok(removed as u64)
}

fn insert(connection: &Connection, revocation: &Revocation) -> rusqlite::Result<()> {
    let (subject, token_id, issued_before) = match &revocation.target {
        RevocationTarget::Subject { subject, issued_before } => {
            (Some(subject), None, issued_before.map(text_of))
        }
        RevocationTarget::Token { id } => (None, Some(id), None),
    };
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO revocations \
             (number, subject, token_id, issued_before, created_at, expires_at, requested_by) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            number(revocation.number),
            subject,
            token_id,
            issued_before,
            text_of(revocation.created_at),
            revocation.expires_at.map(text_of),
            revocation.by.as_ref().map(ToString::to_string),
        ])
        .map(drop)
}

fn raise_last(connection: &Connection, last: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE ledger SET last_revocation = max(last_revocation, ?)")?
        .execute([number(last)])
        .map(drop)
}

/// Reads a row; `None` for one that names neither subject nor token, which no version writes.
fn revocation(row: &Row<'_>) -> rusqlite::Result<Option<Revocation>> {
    let time = |text: Option<String>| text.as_deref().map(time_of);
    let (subject, token_id): (Option<String>, Option<String>) = (row.get(1)?, row.get(2)?);
    let target = match (subject, token_id) {
        (Some(subject), _) => {
            RevocationTarget::Subject { subject, issued_before: time(row.get(3)?) }
        }
        (None, Some(id)) => RevocationTarget::Token { id },
        (None, None) => return Ok(None),
    };
    let by: Option<String> = row.get(6)?;
    Ok(Some(Revocation {
        number: u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0),
        target,
        created_at: time_of(&row.get::<_, String>(4)?),
        expires_at: time(row.get(5)?),
        by: by.as_deref().and_then(requester),
    }))
}

/// Parses who asked. Signals and drains revoke nothing.
fn requester(text: &str) -> Option<Requester> {
    text.strip_prefix("api:").map(|name| Requester::Api(name.into()))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn expired_rows_are_removed_in_steps() {
        let connection = Connection::open_in_memory().unwrap();
        let table = "CREATE TABLE revocations (number INTEGER PRIMARY KEY, expires_at TEXT)";
        connection.execute(table, []).unwrap();
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        for number in 0..12 {
            let expires_at = (number > 0).then(|| text_of(at(number)));
            let row = params![number as i64, expires_at];
            connection.execute("INSERT INTO revocations VALUES (?, ?)", row).unwrap();
        }
        let step = || remove_expired(&connection, at(10), 4).unwrap();
        assert_eq!([step(), step(), step(), step()], [4, 4, 2, 0]);
        let left = "SELECT count(*) FROM revocations";
        let left: i64 = connection.query_row(left, [], |row| row.get(0)).unwrap();
        assert_eq!(left, 2, "one expires later, and one never");
    }
}
