//! A ledger that forgets: the newest endings, in memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Committed, Entry, Ledger};
use crate::vocabulary::{ConnectionId, Ending};

/// Keeps the newest endings in memory, up to a number; durable as long as the process.
#[derive(Debug)]
pub struct InMemory {
    capacity: usize,
    endings: Mutex<VecDeque<Arc<Ending>>>,
}

impl InMemory {
    /// Makes a ledger that keeps this many endings; an ending takes about 1 KiB.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, endings: Mutex::default() }
    }

    /// Returns the endings that are kept, newest first.
    pub fn endings(&self) -> Vec<Arc<Ending>> {
        self.lock().iter().rev().cloned().collect()
    }

    /// Returns the ending of a connection, if it is still kept.
    pub fn ending(&self, id: ConnectionId) -> Option<Arc<Ending>> {
        self.lock().iter().rev().find(|ending| ending.id == id).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Ending>>> {
        self.endings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for InMemory {
    fn default() -> Self {
        Self::new(1000)
    }
}

impl Ledger for InMemory {
    fn append(&self, entry: Entry, committed: &Arc<dyn Committed>) {
        match &entry {
            Entry::Opened(_) => {}
            Entry::Ended(ending) | Entry::OpenFailed(ending) => {
                let mut endings = self.lock();
                if endings.len() >= self.capacity {
                    endings.pop_front();
                }
                if self.capacity > 0 {
                    endings.push_back(Arc::clone(ending));
                }
            }
        }
        committed.committed(entry);
    }
}
