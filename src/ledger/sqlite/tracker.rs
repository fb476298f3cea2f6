//! Tracks the open connections, whether or not they are on the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;

use super::super::Entry;
use super::attempts::{Attempts, Group};
use super::commit_queue::{Batch, Waiting};
use super::rows::{EndingRow, OpenRow, Plan};
use crate::ledger::revocation_table::RevocationTable;
use crate::vocabulary::{ConnectionId, ConnectionOpened, IdMap, IdSet, Record};

/// The open connections and the counted attempts; used by the writer and the watchdog.
pub(super) struct Tracker {
    tracked: Mutex<Tracked>,
    unrecorded: AtomicU64,
    counted: AtomicU64,
}

struct Tracked {
    open: IdMap<Open>,
    /// Connections that ended without a record, may have a row in the file, and are not marked yet.
    unmarked: IdSet,
    /// The number of open connections that have a row, or may have one.
    rows: usize,
    attempts: Attempts,
    /// The revocations that are on the disk; `None` until they have been read.
    revocations: Option<RevocationTable>,
}

impl Tracked {
    fn insert(&mut self, open: Open) {
        let before = self.open.insert(open.opened.id, open.clone());
        self.rows += usize::from(open.row != Row::None);
        self.rows -= usize::from(before.is_some_and(|before| before.row != Row::None));
    }

    fn remove(&mut self, id: ConnectionId) -> Option<Open> {
        let open = self.open.remove(&id)?;
        self.rows -= usize::from(open.row != Row::None);
        Some(open)
    }
}

/// A connection that is open.
#[derive(Clone)]
pub(super) struct Open {
    pub(super) opened: Arc<ConnectionOpened>,
    pub(super) row: Row,
}

/// The row of a connection in the table of open connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Row {
    None,
    At(u64),
    /// The ledger failed while the row was written, so it may exist.
    Perhaps,
}

impl Row {
    fn number(self) -> Option<u64> {
        match self {
            Self::At(row) => Some(row),
            Self::None | Self::Perhaps => None,
        }
    }
}

impl Tracker {
    pub(super) fn new(attempts_per_second: u64) -> Self {
        Self {
            tracked: Mutex::new(Tracked {
                open: IdMap::default(),
                unmarked: IdSet::default(),
                rows: 0,
                attempts: Attempts::new(attempts_per_second),
                revocations: None,
            }),
            unrecorded: AtomicU64::new(0),
            counted: AtomicU64::new(0),
        }
    }

    /// Plans what to write for entries, and what to report for each on success. `sequence` is the
    /// last number assigned.
    pub(super) fn plan(&self, entries: Vec<Waiting>, sequence: &mut u64) -> (Plan, Batch) {
        let mut next = || {
            *sequence += 1;
            *sequence
        };
        // A connection that opens and ends in one batch gets no row.
        let ended: IdSet = entries.iter().filter_map(|waiting| ended_id(&waiting.entry)).collect();
        let mut plan = Plan::default();
        let mut records = Vec::with_capacity(entries.len());
        let mut tracked = self.tracked.lock();
        for waiting in &entries {
            records.push(match &waiting.entry {
                Entry::Closing(_) => Record::None,
                Entry::Opened(opened) => {
                    let sequence = next();
                    if !ended.contains(&opened.id) {
                        plan.opened.push(OpenRow { sequence, opened: Arc::clone(opened) });
                    }
                    Record::Durable(sequence)
                }
                Entry::Ended(ending) => {
                    let sequence = next();
                    plan.closed
                        .extend(tracked.open.get(&ending.id).and_then(|open| open.row.number()));
                    plan.endings.push(EndingRow { sequence, ending: Arc::clone(ending) });
                    Record::Durable(sequence)
                }
                Entry::OpenFailed(ending) => {
                    if tracked.attempts.admit(ending, waiting.since) {
                        let sequence = next();
                        plan.attempts.push(EndingRow { sequence, ending: Arc::clone(ending) });
                        Record::Durable(sequence)
                    } else {
                        self.counted.fetch_add(1, Ordering::Relaxed);
                        Record::Counted
                    }
                }
                Entry::Revocation(change) => {
                    plan.revocations.push(change.clone());
                    Record::Durable(next())
                }
            });
        }
        plan.sequence = *sequence;
        (plan, Batch { entries, records })
    }

    /// Records that a batch is on the disk.
    pub(super) fn stored(&self, batch: &Batch) {
        let mut tracked = self.tracked.lock();
        for (waiting, record) in batch.entries.iter().zip(&batch.records) {
            match &waiting.entry {
                Entry::Opened(opened) => {
                    let opened = Arc::clone(opened);
                    let row = record.sequence().map_or(Row::None, Row::At);
                    tracked.insert(Open { opened, row });
                }
                Entry::Ended(ending) => {
                    tracked.remove(ending.id);
                }
                Entry::Revocation(change) => {
                    if let Some(table) = &mut tracked.revocations {
                        table.apply(change);
                    }
                }
                Entry::Closing(_) | Entry::OpenFailed(_) => {}
            }
        }
    }

    /// Records that a planned batch is lost, and returns what to report for each entry.
    pub(super) fn lost(&self, batch: &Batch) -> Vec<Record> {
        let mut tracked = self.tracked.lock();
        // Connections that end in the same batch were planned without a row.
        let ended: IdSet = batch.entries.iter().filter_map(|it| ended_id(&it.entry)).collect();
        let planned = batch.entries.iter().zip(&batch.records);
        planned
            .map(|(waiting, record)| match record {
                Record::Durable(_) | Record::Failed => {
                    let opened = opened_id(&waiting.entry);
                    let over = opened.is_some_and(|id| ended.contains(&id));
                    let row = if over { Row::None } else { Row::Perhaps };
                    self.give_up(&mut tracked, &waiting.entry, row)
                }
                Record::Counted | Record::None => *record,
            })
            .collect()
    }

    /// Records that entries will not be written, and returns what to report for each.
    pub(super) fn refused(&self, entries: &[Waiting]) -> Vec<Record> {
        let mut tracked = self.tracked.lock();
        let mut records = Vec::with_capacity(entries.len());
        for waiting in entries {
            let counted = match &waiting.entry {
                // A flood of attempts must not fill the log instead.
                Entry::OpenFailed(ending) => !tracked.attempts.admit(ending, waiting.since),
                Entry::Opened(_) | Entry::Closing(_) | Entry::Ended(_) | Entry::Revocation(_) => {
                    false
                }
            };
            records.push(if counted {
                self.counted.fetch_add(1, Ordering::Relaxed);
                Record::Counted
            } else {
                self.give_up(&mut tracked, &waiting.entry, Row::None)
            });
        }
        records
    }

    /// Records that an entry is lost; `row` applies to a connection that opened.
    fn give_up(&self, tracked: &mut Tracked, entry: &Entry, row: Row) -> Record {
        match entry {
            Entry::Closing(_) => return Record::None,
            Entry::Opened(opened) => {
                tracked.insert(Open { opened: Arc::clone(opened), row });
            }
            Entry::Ended(ending) => {
                let open = tracked.remove(ending.id);
                if open.is_some_and(|open| open.row != Row::None) {
                    tracked.unmarked.insert(ending.id);
                }
                self.unrecorded.fetch_add(1, Ordering::Relaxed);
            }
            Entry::OpenFailed(_) => {
                self.unrecorded.fetch_add(1, Ordering::Relaxed);
            }
            // It takes no effect. If it reached the file all the same, the next opening removes it.
            Entry::Revocation(_) => {}
        }
        Record::Failed
    }

    /// Returns the open connections.
    pub(super) fn open(&self) -> IdMap<Open> {
        self.tracked.lock().open.clone()
    }

    /// Returns how many rows of open connections the file may have, including those to be marked.
    pub(super) fn rows(&self) -> usize {
        let tracked = self.tracked.lock();
        tracked.rows + tracked.unmarked.len()
    }

    /// Takes the connections to be marked, including those of `entries`, which are about to be lost.
    pub(super) fn take_unmarked(&self, entries: &[Waiting]) -> IdSet {
        let mut tracked = self.tracked.lock();
        let mut ids = std::mem::take(&mut tracked.unmarked);
        for id in entries.iter().filter_map(|waiting| ended_id(&waiting.entry)) {
            if tracked.open.get(&id).is_some_and(|open| open.row != Row::None) {
                ids.insert(id);
            }
        }
        ids
    }

    /// Puts back connections that could not be marked.
    pub(super) fn put_back_unmarked(&self, ids: IdSet) {
        self.tracked.lock().unmarked.extend(ids);
    }

    pub(super) fn none_open(&self) -> bool {
        self.tracked.lock().open.is_empty()
    }

    /// Records the current row of each connection.
    pub(super) fn set_rows(&self, rows: &[(ConnectionId, u64)]) {
        let mut tracked = self.tracked.lock();
        for (id, row) in rows {
            if let Some(open) = tracked.open.get(id) {
                let opened = Arc::clone(&open.opened);
                tracked.insert(Open { opened, row: Row::At(*row) });
            }
        }
    }

    /// Returns the revocations that are on the disk; `None` until they have been read.
    pub(super) fn revocations(&self) -> Option<RevocationTable> {
        self.tracked.lock().revocations.clone()
    }

    /// Sets the revocations that are on the disk.
    pub(super) fn set_revocations(&self, table: RevocationTable) {
        self.tracked.lock().revocations = Some(table);
    }

    /// Drops the revocations that have expired; returns how many are left.
    pub(super) fn expire_revocations(&self, now: SystemTime) -> usize {
        let mut tracked = self.tracked.lock();
        let Some(table) = &mut tracked.revocations else { return 0 };
        table.expire(now);
        table.rows.len()
    }

    /// Takes the counts of attempts that are not stored yet.
    pub(super) fn take_counts(&self) -> Vec<(Group, u64)> {
        self.tracked.lock().attempts.take_counts()
    }

    /// Puts back counts that could not be stored.
    pub(super) fn put_back(&self, counts: Vec<(Group, u64)>) {
        self.tracked.lock().attempts.put_back(counts);
    }

    /// Returns how many endings, including those of attempts, could not be stored.
    pub(super) fn unrecorded(&self) -> u64 {
        self.unrecorded.load(Ordering::Relaxed)
    }

    /// Returns how many attempts were only counted.
    pub(super) fn counted(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }
}

fn opened_id(entry: &Entry) -> Option<ConnectionId> {
    match entry {
        Entry::Opened(opened) => Some(opened.id),
        Entry::Ended(_) | Entry::Closing(_) | Entry::OpenFailed(_) | Entry::Revocation(_) => None,
    }
}

fn ended_id(entry: &Entry) -> Option<ConnectionId> {
    match entry {
        Entry::Ended(ending) => Some(ending.id),
        Entry::Opened(_) | Entry::Closing(_) | Entry::OpenFailed(_) | Entry::Revocation(_) => None,
    }
}
