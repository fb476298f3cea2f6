//! Removes rows by age, by each table's share of the space, and by each network's share of that.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{OptionalExtension, Transaction, TransactionBehavior};

use super::networks;
use super::revocations;
use super::rows::{number, text_of};
use super::store::Store;
use super::store_error::StoreError;
use crate::ledger::shares::GivesWay;

/// The number of rows removed in one step: a few milliseconds.
const STEP: u64 = 500;

/// The maximum size of a row of counted attempts.
const COUNT_BYTES: u64 = 400;

/// The maximum size of a row of revocations, including its index.
const REVOCATION_BYTES: u64 = 700;

/// The number of networks whose endings are counted.
const MOST_NETWORKS: i64 = 10_000;

/// How long endings are kept, and how much space they may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) retention: Duration,
    pub(super) max_size: u64,
}

impl Bounds {
    /// Attempts have a tenth of their own, so that a flood of them evicts no ending.
    fn of_attempts(self) -> u64 {
        self.max_size / 10
    }

    /// Counted attempts have a twentieth.
    fn of_counts(self) -> u64 {
        self.max_size / 20
    }

    fn of_endings(self) -> u64 {
        self.max_size - self.of_attempts() - self.of_counts()
    }

    /// The table of networks takes only a small part of a small ledger, too.
    fn networks(self) -> i64 {
        MOST_NETWORKS.min(number(self.of_endings() / 4096))
    }
}

/// The bytes in use per table.
struct Usage {
    endings: u64,
    attempts: u64,
    counts: u64,
}

impl Store {
    /// Removes one step of the rows that exceed the bounds; returns whether there may be more. The
    /// `revocations` that are in force have a bound of their own, and are not counted.
    pub(super) fn retain(&mut self, bounds: Bounds, revocations: u64) -> Result<bool, StoreError> {
        let now = SystemTime::now();
        let expired = revocations::remove_expired(&self.connection, now, STEP)?;
        networks::limit(&self.connection, bounds.networks())?;
        let oldest = text_of(now.checked_sub(bounds.retention).unwrap_or(UNIX_EPOCH));
        let usage = self.usage(revocations)?;
        let first = |table: &str| {
            let first = format!("SELECT ended_at FROM {table} ORDER BY sequence LIMIT 1");
            let mut first = self.connection.prepare_cached(&first)?;
            first.query_row([], |row| row.get::<_, String>(0)).optional()
        };
        let is_old = |ended_at: Option<String>| ended_at.is_some_and(|at| at < oldest);
        let (old_ending, old_attempt) = (is_old(first("endings")?), is_old(first("attempts")?));
        let too_many = |used: u64, bound: u64| used.saturating_sub(bound);
        let endings = too_many(usage.endings, bounds.of_endings());
        let attempts = too_many(usage.attempts, bounds.of_attempts());
        let counts = too_many(usage.counts, bounds.of_counts());
        let minute: Option<String> = self
            .connection
            .prepare_cached("SELECT min(minute) FROM counted_attempts")?
            .query_row([], |row| row.get(0))?;
        let old_count = is_old(minute);
        if !old_ending && !old_attempt && !old_count && endings + attempts + counts == 0 {
            return Ok(expired > 0);
        }
        let step = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut removed = 0;
        if old_ending {
            removed += remove(&step, "endings", &oldest, 0)?;
        } else if endings > 0 {
            removed += make_room(&step, &oldest, endings, bounds.of_endings())?;
        }
        if old_attempt || attempts > 0 {
            removed += remove(&step, "attempts", &oldest, attempts)?;
        }
        if old_count || counts > 0 {
            let most = (counts / COUNT_BYTES).min(STEP);
            removed += step.execute(
                "DELETE FROM counted_attempts WHERE (minute, listener, open_failure, network) IN \
                 (SELECT minute, listener, open_failure, network FROM counted_attempts \
                  WHERE minute < ?1 LIMIT 500) \
                 OR (minute, listener, open_failure, network) IN \
                 (SELECT minute, listener, open_failure, network FROM counted_attempts LIMIT ?2)",
                (&oldest, most as i64),
            )? as u64;
        }
        step.commit()?;
        Ok(expired + removed > 0)
    }

    /// Estimates the usage. Endings are the remainder after the other tables; those are rounded up,
    /// so that endings are never overestimated.
    fn usage(&self, revocations: u64) -> rusqlite::Result<Usage> {
        let number = |sql: &str| {
            let mut query = self.connection.prepare_cached(sql)?;
            query.query_row([], |row| row.get::<_, i64>(0)).map(|number| number.max(0) as u64)
        };
        let pages = number("PRAGMA page_count")? - number("PRAGMA freelist_count")?;
        let live = pages * number("PRAGMA page_size")?;
        let attempts = number("SELECT attempt_bytes FROM ledger")?;
        // Counting scans the whole table, which is small.
        let counts = number("SELECT count(*) FROM counted_attempts")? * COUNT_BYTES;
        let others = attempts + counts + revocations * REVOCATION_BYTES;
        Ok(Usage { endings: live.saturating_sub(others), attempts, counts })
    }
}

/// Removes endings of about so many bytes, or of as many as the network that takes most has beyond its
/// share of the space; returns 0 if there is nothing more to remove.
fn make_room(
    step: &Transaction<'_>,
    oldest: &str,
    bytes: u64,
    space: u64,
) -> rusqlite::Result<u64> {
    match GivesWay::choose(networks::largest(step)?, space) {
        GivesWay::Network(network, excess) => {
            networks::remove_oldest(step, &network, number(bytes.min(excess)), number(STEP))?;
            Ok(1)
        }
        GivesWay::Oldest => remove(step, "endings", oldest, bytes),
    }
}

/// Removes rows from the beginning of a table: those older than `oldest`, and about `bytes` more.
fn remove(step: &Transaction<'_>, table: &str, oldest: &str, bytes: u64) -> rusqlite::Result<u64> {
    let is_attempts = table == "attempts";
    // Rows of older versions have neither a size nor a network.
    let columns = match is_attempts {
        true => "size, NULL",
        false => "coalesce(size, octet_length(record) + 300), network",
    };
    let mut read = step.prepare_cached(&format!(
        "SELECT sequence, ended_at, {columns} FROM {table} ORDER BY sequence LIMIT ?"
    ))?;
    let mut rows = read.query([STEP as i64])?;
    let (mut last, mut freed, mut count) = (None, 0, 0);
    while let Some(row) = rows.next()? {
        let (sequence, ended_at, size): (i64, String, i64) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        if ended_at.as_str() >= oldest && freed >= bytes {
            break;
        }
        freed += size.max(0) as u64;
        count += 1;
        last = Some(sequence);
        if let Some(network) = row.get::<_, Option<String>>(3)? {
            networks::subtract(step, &network, sequence, size)?;
        }
    }
    let Some(last) = last else { return Ok(0) };
    step.prepare_cached(&format!("DELETE FROM {table} WHERE sequence <= ?"))?.execute([last])?;
    let freed = if is_attempts { freed as i64 } else { 0 };
    step.prepare_cached(
        "UPDATE ledger SET removed = max(removed, ?), attempt_bytes = max(attempt_bytes - ?, 0)",
    )?
    .execute([last, freed])?;
    Ok(count)
}
