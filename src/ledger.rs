//! The store of endings: what it keeps is durable before anybody is told.

mod archive;
mod memory;
mod peer;
mod sqlite;

use std::sync::Arc;
use std::time::Duration;

pub use archive::{
    Archive, Count, EndingFilter, EndingPage, Property, QueryError, Replay, Stored, Summary,
};
pub use memory::InMemory;
pub use sqlite::{OpenError, Recovery, Sqlite, SqliteOptions};

use crate::vocabulary::{Closing, Ending, Event, Opened, Record};

/// One thing that is taken to the ledger.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A connection opened.
    Opened(Arc<Opened>),
    /// A closing handshake began or went on: not kept, and told in its turn.
    Closing(Closing),
    /// A connection ended.
    Ended(Arc<Ending>),
    /// An attempt failed.
    OpenFailed(Arc<Ending>),
}

impl From<Entry> for Event {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Opened(opened) => Self::Opened(opened),
            Entry::Closing(closing) => Self::Closing(closing),
            Entry::Ended(ending) => Self::Ended(ending),
            Entry::OpenFailed(ending) => Self::OpenFailed(ending),
        }
    }
}

/// Takes entries once they are dealt with, in the order in which they were appended.
pub trait Committed: Send + Sync + 'static {
    /// Takes note of what became of an entry. It must not block.
    fn committed(&self, entry: Entry, record: Record);
}

/// A store of endings.
///
/// Whoever appends never waits for a disk: the ledger tells [`Committed`] when it is done. An entry
/// that was appended is told of exactly once, in the order in which entries were appended, whatever
/// happens to the disk; [`Record`] says what became of it.
pub trait Ledger: Send + Sync + 'static {
    /// Appends an entry, and tells `committed` once it is durable or cannot be.
    fn append(&self, entry: Entry, committed: &Arc<dyn Committed>);

    /// Returns how the ledger fares.
    fn health(&self) -> Health;

    /// Tells whether new connections are to be refused, because they could not be recorded.
    fn refuses_new(&self) -> bool {
        self.health().refuses()
    }

    /// Returns for how long the oldest entry that is not yet durable has been waiting.
    fn lag(&self) -> Duration;
}

/// How a ledger fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Everything is stored.
    Good,
    /// Endings cannot be stored.
    Failing {
        /// Why, in one plain sentence that names the file and the remedy.
        problem: String,
        /// Whether new connections are to be refused until it stores again (`on_failure`).
        refuse: bool,
    },
}

impl Health {
    /// Tells whether new connections are to be refused.
    pub fn refuses(&self) -> bool {
        matches!(self, Self::Failing { refuse: true, .. })
    }
}
