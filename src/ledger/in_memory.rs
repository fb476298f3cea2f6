//! A ledger that keeps the newest endings in memory only.

#[cfg(feature = "contract")]
mod queries;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::revocation_table::RevocationTable;
use super::{Committed, Entry, Health, Ledger, RecordedRevocations};
use crate::vocabulary::{ConnectionId, Ending, Record, RevocationChange};

/// Keeps up to a number of the newest endings, and all revocations, in memory until the process
/// ends.
#[derive(Debug)]
pub struct InMemory {
    capacity: usize,
    kept: Mutex<Kept>,
    /// Held while an entry is reported, so that reports come in commit order.
    reporting: Mutex<()>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The number of entries committed so far.
    sequence: u64,
    /// The sequence number of the last evicted ending.
    dropped: u64,
    endings: VecDeque<(u64, Arc<Ending>)>,
    revocations: RevocationTable,
}

impl InMemory {
    /// Makes a ledger that keeps this many endings; an ending takes about 1 KiB.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, kept: Mutex::default(), reporting: Mutex::default() }
    }

    /// Returns the endings that are kept, newest first.
    pub fn kept(&self) -> Vec<Arc<Ending>> {
        self.kept.lock().endings.iter().rev().map(|(_, ending)| Arc::clone(ending)).collect()
    }

    /// Returns the ending of a connection, if it is still kept.
    pub fn find(&self, id: ConnectionId) -> Option<Arc<Ending>> {
        let kept = self.kept.lock();
        let (_, ending) = kept.endings.iter().rev().find(|(_, ending)| ending.id == id)?;
        Some(Arc::clone(ending))
    }

    fn keep(&self, entry: &Entry) -> Record {
        let mut kept = self.kept.lock();
        let ending = match entry {
            Entry::Closing(_) => return Record::None,
            Entry::Opened(_) => None,
            Entry::Revocation(change) => {
                if let RevocationChange::Made(revocation) = change {
                    // A supervisor drops expired ones, and never looks for them here.
                    kept.revocations.expire(revocation.created_at);
                }
                kept.revocations.apply(change);
                None
            }
            Entry::Ended(ending) | Entry::OpenFailed(ending) => Some(ending),
        };
        kept.sequence += 1;
        let sequence = kept.sequence;
        if let Some(ending) = ending {
            if kept.endings.len() >= self.capacity {
                kept.dropped = kept.endings.pop_front().map_or(sequence, |(oldest, _)| oldest);
            }
            if self.capacity > 0 {
                kept.endings.push_back((sequence, Arc::clone(ending)));
            }
        }
        Record::Durable(sequence)
    }
}

impl Default for InMemory {
    fn default() -> Self {
        Self::new(1000)
    }
}

impl Ledger for InMemory {
    fn append(&self, entry: Entry, committed: &Arc<dyn Committed>) {
        let _telling = self.reporting.lock();
        let record = self.keep(&entry);
        committed.committed(entry, record);
    }

    fn health(&self) -> Health {
        Health::Good
    }

    fn lag(&self) -> Duration {
        Duration::ZERO
    }

    fn revocations(&self) -> Option<RecordedRevocations> {
        Some(self.kept.lock().revocations.clone().recorded())
    }
}
