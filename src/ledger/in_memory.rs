//! A ledger that keeps the newest endings in memory only.

mod networks;
#[cfg(feature = "contract")]
mod queries;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use self::networks::Networks;
use super::revocation_table::RevocationTable;
use super::shares::GivesWay;
use super::{Committed, Entry, Health, Ledger, RecordedRevocations};
use crate::vocabulary::{ConnectionId, Ending, Network, Record, RevocationChange};

/// Keeps up to a number of endings, and all revocations, in memory until the process ends.
///
/// The oldest endings give way: those of the network with the most while it has more than a quarter,
/// else the oldest of all.
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
    /// The highest sequence number of an ending that gave way.
    dropped: u64,
    /// By sequence number.
    endings: BTreeMap<u64, Arc<Ending>>,
    networks: Networks,
    revocations: RevocationTable,
}

impl InMemory {
    /// Makes a ledger that keeps this many endings; an ending takes about 1 KiB.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, kept: Mutex::default(), reporting: Mutex::default() }
    }

    /// Returns the endings that are kept, newest first.
    pub fn kept(&self) -> Vec<Arc<Ending>> {
        self.kept.lock().endings.values().rev().map(Arc::clone).collect()
    }

    /// Returns the ending of a connection, if it is still kept.
    pub fn find(&self, id: ConnectionId) -> Option<Arc<Ending>> {
        let kept = self.kept.lock();
        kept.endings.values().rev().find(|ending| ending.id == id).map(Arc::clone)
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
            kept.endings.insert(sequence, Arc::clone(ending));
            kept.networks.add(Network::of(&ending.origin), sequence);
            if kept.endings.len() > self.capacity {
                kept.give_way(self.capacity);
            }
        }
        Record::Durable(sequence)
    }
}

impl Kept {
    /// Removes an ending; there is at least one.
    fn give_way(&mut self, capacity: usize) {
        let network = match GivesWay::choose(self.networks.largest(), capacity as u64) {
            GivesWay::Network(network, _) => Some(network),
            GivesWay::Oldest => {
                let oldest = self.endings.first_key_value();
                oldest.map(|(_, ending)| Network::of(&ending.origin))
            }
        };
        // The oldest of all is also the oldest of its network.
        let given_up = network.and_then(|network| self.networks.remove_oldest(network));
        if let Some(sequence) = given_up {
            self.endings.remove(&sequence);
            self.dropped = self.dropped.max(sequence);
        }
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
