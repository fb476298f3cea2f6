//! What the ledger knows of open connections, whether or not the disk knows it too.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::Entry;
use super::attempts::{Attempts, Group};
use super::desk::{Batch, Waiting};
use super::rows::{EndingRow, OpenRow, Plan};
use crate::vocabulary::{ConnectionId, IdMap, IdSet, Opened, Record};

/// The open connections, and the attempts that were only counted; the watchdog writes in it too.
pub(super) struct Book {
    pages: Mutex<Pages>,
    unrecorded: AtomicU64,
    counted: AtomicU64,
}

struct Pages {
    open: IdMap<Open>,
    /// Who ended without a record and may have a row in the file, and is not marked yet.
    unmarked: IdSet,
    /// How many of the open ones have a row, or may have one.
    rows: usize,
    attempts: Attempts,
}

impl Pages {
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
    pub(super) opened: Arc<Opened>,
    pub(super) row: Row,
}

/// Where in the table of open connections a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Row {
    /// It has none.
    None,
    At(u64),
    /// It was being written when the ledger failed.
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

impl Book {
    pub(super) fn new(attempts_per_second: u64) -> Self {
        Self {
            pages: Mutex::new(Pages {
                open: IdMap::default(),
                unmarked: IdSet::default(),
                rows: 0,
                attempts: Attempts::new(attempts_per_second),
            }),
            unrecorded: AtomicU64::new(0),
            counted: AtomicU64::new(0),
        }
    }

    /// Says what is to be written for entries, and what is to be told of each once it is.
    /// `sequence` is the last number that was given away.
    pub(super) fn plan(&self, entries: Vec<Waiting>, sequence: &mut u64) -> (Plan, Batch) {
        let mut next = || {
            *sequence += 1;
            *sequence
        };
        // A connection that opens and ends in one batch is never seen open.
        let ended: IdSet = entries.iter().filter_map(|waiting| ended_id(&waiting.entry)).collect();
        let mut plan = Plan::default();
        let mut records = Vec::with_capacity(entries.len());
        let mut pages = self.lock();
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
                        .extend(pages.open.get(&ending.id).and_then(|open| open.row.number()));
                    plan.endings.push(EndingRow { sequence, ending: Arc::clone(ending) });
                    Record::Durable(sequence)
                }
                Entry::OpenFailed(ending) => {
                    if pages.attempts.admit(ending, waiting.since) {
                        let sequence = next();
                        plan.attempts.push(EndingRow { sequence, ending: Arc::clone(ending) });
                        Record::Durable(sequence)
                    } else {
                        self.counted.fetch_add(1, Ordering::Relaxed);
                        Record::Counted
                    }
                }
            });
        }
        plan.sequence = *sequence;
        (plan, Batch { entries, records })
    }

    /// Notes that a batch is on the disk.
    pub(super) fn stored(&self, batch: &Batch) {
        let mut pages = self.lock();
        for (waiting, record) in batch.entries.iter().zip(&batch.records) {
            match &waiting.entry {
                Entry::Opened(opened) => {
                    let opened = Arc::clone(opened);
                    let row = record.sequence().map_or(Row::None, Row::At);
                    pages.insert(Open { opened, row });
                }
                Entry::Ended(ending) => {
                    pages.remove(ending.id);
                }
                Entry::Closing(_) | Entry::OpenFailed(_) => {}
            }
        }
    }

    /// Notes that a batch that was to be written is lost, and changes what is to be told of it.
    pub(super) fn lost(&self, batch: &Batch) -> Vec<Record> {
        let mut pages = self.lock();
        // Those got no row.
        let ended: IdSet = batch.entries.iter().filter_map(|it| ended_id(&it.entry)).collect();
        let planned = batch.entries.iter().zip(&batch.records);
        planned
            .map(|(waiting, record)| match record {
                Record::Durable(_) | Record::Failed => {
                    let opened = opened_id(&waiting.entry);
                    let over = opened.is_some_and(|id| ended.contains(&id));
                    let row = if over { Row::None } else { Row::Perhaps };
                    self.give_up(&mut pages, &waiting.entry, row)
                }
                Record::Counted | Record::None => *record,
            })
            .collect()
    }

    /// Notes that entries will not be written, and returns what is to be told of each.
    pub(super) fn refused(&self, entries: &[Waiting]) -> Vec<Record> {
        let mut pages = self.lock();
        let mut records = Vec::with_capacity(entries.len());
        for waiting in entries {
            let counted = match &waiting.entry {
                // A flood is not to fill the log instead.
                Entry::OpenFailed(ending) => !pages.attempts.admit(ending, waiting.since),
                Entry::Opened(_) | Entry::Closing(_) | Entry::Ended(_) => false,
            };
            records.push(if counted {
                self.counted.fetch_add(1, Ordering::Relaxed);
                Record::Counted
            } else {
                self.give_up(&mut pages, &waiting.entry, Row::None)
            });
        }
        records
    }

    /// `row` is what is known of the row of one that opened.
    fn give_up(&self, pages: &mut Pages, entry: &Entry, row: Row) -> Record {
        match entry {
            Entry::Closing(_) => return Record::None,
            Entry::Opened(opened) => {
                pages.insert(Open { opened: Arc::clone(opened), row });
            }
            Entry::Ended(ending) => {
                let open = pages.remove(ending.id);
                if open.is_some_and(|open| open.row != Row::None) {
                    pages.unmarked.insert(ending.id);
                }
                self.unrecorded.fetch_add(1, Ordering::Relaxed);
            }
            Entry::OpenFailed(_) => {
                self.unrecorded.fetch_add(1, Ordering::Relaxed);
            }
        }
        Record::Failed
    }

    /// Returns the connections that are open.
    pub(super) fn open(&self) -> IdMap<Open> {
        self.lock().open.clone()
    }

    /// Returns how many rows of open connections the file may have, those to be marked among them.
    pub(super) fn rows(&self) -> usize {
        let pages = self.lock();
        pages.rows + pages.unmarked.len()
    }

    /// Takes those that are to be marked, and those that will be once these entries are given up.
    pub(super) fn take_unmarked(&self, entries: &[Waiting]) -> IdSet {
        let mut pages = self.lock();
        let mut ids = std::mem::take(&mut pages.unmarked);
        for id in entries.iter().filter_map(|waiting| ended_id(&waiting.entry)) {
            if pages.open.get(&id).is_some_and(|open| open.row != Row::None) {
                ids.insert(id);
            }
        }
        ids
    }

    /// Gives back those that could not be marked.
    pub(super) fn put_back_unmarked(&self, ids: IdSet) {
        self.lock().unmarked.extend(ids);
    }

    pub(super) fn none_open(&self) -> bool {
        self.lock().open.is_empty()
    }

    /// Notes in which row each of these is now.
    pub(super) fn placed(&self, rows: &[(ConnectionId, u64)]) {
        let mut pages = self.lock();
        for (id, row) in rows {
            if let Some(open) = pages.open.get(id) {
                let opened = Arc::clone(&open.opened);
                pages.insert(Open { opened, row: Row::At(*row) });
            }
        }
    }

    /// Takes the counts of attempts that are not stored yet.
    pub(super) fn take_counts(&self) -> Vec<(Group, u64)> {
        self.lock().attempts.take_pending()
    }

    /// Gives back counts that could not be stored.
    pub(super) fn put_back(&self, counts: Vec<(Group, u64)>) {
        self.lock().attempts.put_back(counts);
    }

    /// How many endings could not be stored, those of attempts among them.
    pub(super) fn unrecorded(&self) -> u64 {
        self.unrecorded.load(Ordering::Relaxed)
    }

    /// How many attempts were only counted.
    pub(super) fn counted(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn opened_id(entry: &Entry) -> Option<ConnectionId> {
    match entry {
        Entry::Opened(opened) => Some(opened.id),
        Entry::Ended(_) | Entry::Closing(_) | Entry::OpenFailed(_) => None,
    }
}

fn ended_id(entry: &Entry) -> Option<ConnectionId> {
    match entry {
        Entry::Ended(ending) => Some(ending.id),
        Entry::Opened(_) | Entry::Closing(_) | Entry::OpenFailed(_) => None,
    }
}
