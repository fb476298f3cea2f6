//! What the endings of each network take, and the removal of those of one network.
//!
//! The table is changed in the transaction that inserts or removes the rows it counts, so that both
//! always agree. It holds the networks that take most; one that was dropped counts from its next
//! ending on.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Transaction, params};

/// The number of rows read in one step, to find those of one network.
const SCAN: i64 = 2000;

/// What new endings take, by network.
#[derive(Default)]
pub(super) struct Sizes(BTreeMap<String, Size>);

struct Size {
    bytes: i64,
    first: i64,
}

impl Sizes {
    /// Adds an ending, whose number is higher than those before.
    pub(super) fn add(&mut self, network: String, sequence: i64, bytes: i64) {
        self.0.entry(network).or_insert(Size { bytes: 0, first: sequence }).bytes += bytes;
    }

    /// Adds them to the table.
    pub(super) fn add_to(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut add = transaction.prepare_cached(
            "INSERT INTO networks (network, bytes, first) VALUES (?, ?, ?) \
             ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes",
        )?;
        for (network, Size { bytes, first }) in &self.0 {
            add.execute(params![network, bytes, first])?;
        }
        Ok(())
    }
}

/// Subtracts an ending that is removed, if it was counted.
pub(super) fn subtract(
    step: &Transaction<'_>,
    network: &str,
    sequence: i64,
    bytes: i64,
) -> rusqlite::Result<()> {
    step.prepare_cached(
        "UPDATE networks SET bytes = max(bytes - ?, 0) WHERE network = ? AND first <= ?",
    )?
    .execute(params![bytes, network, sequence])
    .map(drop)
}

/// Returns the network that takes most, and what it takes.
pub(super) fn largest(step: &Transaction<'_>) -> rusqlite::Result<Option<(String, u64)>> {
    step.prepare_cached("SELECT network, bytes FROM networks ORDER BY bytes DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.max(0) as u64)))
        .optional()
}

/// Removes the oldest rows of a network, of about so many bytes and at most `most` rows. If it takes
/// too long to find them, the next step continues from there.
pub(super) fn remove_oldest(
    step: &Transaction<'_>,
    network: &str,
    bytes: i64,
    most: i64,
) -> rusqlite::Result<()> {
    let first: i64 = step
        .prepare_cached("SELECT first FROM networks WHERE network = ?")?
        .query_row([network], |row| row.get(0))?;
    let (mut found, mut last, mut freed) = (0, None, 0);
    let (mut next, mut scanned) = (first, 0);
    {
        let mut read = step.prepare_cached(
            "SELECT sequence, network IS ?, size FROM endings WHERE sequence >= ? \
             ORDER BY sequence LIMIT ?",
        )?;
        let mut rows = read.query(params![network, first, SCAN])?;
        while found < most
            && freed < bytes
            && let Some(row) = rows.next()?
        {
            let sequence: i64 = row.get(0)?;
            (next, scanned) = (sequence + 1, scanned + 1);
            if row.get(1)? {
                found += 1;
                last = Some(sequence);
                freed += row.get::<_, i64>(2)?.max(0);
            }
        }
    }
    if let Some(last) = last {
        step.prepare_cached("DELETE FROM endings WHERE sequence BETWEEN ? AND ? AND network = ?")?
            .execute(params![first, last, network])?;
        step.prepare_cached("UPDATE ledger SET removed = max(removed, ?)")?.execute([last])?;
    }
    if found < most && freed < bytes && scanned < SCAN {
        // That was its last row.
        step.prepare_cached("DELETE FROM networks WHERE network = ?")?.execute([network])?;
        return Ok(());
    }
    step.prepare_cached(
        "UPDATE networks SET bytes = max(bytes - ?, 0), first = ? WHERE network = ?",
    )?
    .execute(params![freed, next, network])
    .map(drop)
}

/// Drops the smallest networks if there are more than `most`, and some more, so that this is rare.
pub(super) fn limit(connection: &rusqlite::Connection, most: i64) -> rusqlite::Result<()> {
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM networks")?
        .query_row([], |row| row.get(0))?;
    if count <= most {
        return Ok(());
    }
    connection
        .prepare_cached(
            "DELETE FROM networks WHERE network IN \
             (SELECT network FROM networks ORDER BY bytes LIMIT ?)",
        )?
        .execute([count - most * 9 / 10])
        .map(drop)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::super::schema::{STEPS, migrate};
    use super::*;

    #[test]
    fn a_step_reads_a_bounded_number_of_rows_and_the_next_continues() {
        let mut file = Connection::open_in_memory().unwrap();
        migrate(&mut file, STEPS).unwrap();
        // One of a, 3,000 of b, and ten of a, of 100 bytes each.
        file.execute_batch(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 3011)
             INSERT INTO endings (sequence, id, ended_at, kind, fault, cause, record, network, size)
             SELECT n, n, '', '', '', '', '', iif(n = 1 OR n > 3001, 'a', 'b'), 100 FROM n;
             INSERT INTO networks VALUES ('a', 1100, 1), ('b', 300000, 2);",
        )
        .unwrap();
        let step = file.transaction().unwrap();
        let of_a = || {
            let mut query =
                step.prepare("SELECT bytes, first FROM networks WHERE network = 'a'").unwrap();
            let row = query.query_row([], |row| Ok((row.get(0)?, row.get(1)?)));
            let row: Option<(i64, i64)> = row.optional().unwrap();
            let count = "SELECT count(*) FROM endings WHERE network = 'a'";
            (row, step.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap())
        };
        remove_oldest(&step, "a", 500, 100).unwrap();
        assert_eq!(of_a(), (Some((1000, 2001)), 10));
        remove_oldest(&step, "a", 500, 3).unwrap();
        assert_eq!(of_a(), (Some((700, 3005)), 7), "at most so many rows");
        remove_oldest(&step, "a", 150, 100).unwrap();
        assert_eq!(of_a(), (Some((500, 3007)), 5), "and bytes");
        remove_oldest(&step, "a", 1000, 100).unwrap();
        assert_eq!(of_a(), (None, 0), "there are no more");
        let removed = "SELECT removed FROM ledger";
        assert_eq!(step.query_row(removed, [], |row| row.get::<_, i64>(0)).unwrap(), 3011);
        let of_b = "SELECT count(*) FROM endings WHERE network = 'b'";
        assert_eq!(step.query_row(of_b, [], |row| row.get::<_, i64>(0)).unwrap(), 3000);
    }
}
