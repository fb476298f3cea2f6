//! The store of endings. An entry is durable before it is reported.

#[cfg(feature = "contract")]
mod archive;
mod in_memory;
mod revocation_table;
mod shares;
#[cfg(feature = "ledger-sqlite")]
mod sqlite;
#[cfg(feature = "contract")]
mod timeline;

use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(feature = "contract")]
pub use archive::{
    Archive, Count, EndingFilter, EndingPage, Property, QueryError, Replay, Stored, Summary,
};
pub use in_memory::InMemory;
#[cfg(feature = "ledger-sqlite")]
pub use sqlite::{OpenError, Recovery, Sqlite, SqliteOptions};
#[cfg(feature = "contract")]
pub use timeline::{Slots, Timeline, TimelineValue};

use crate::vocabulary::{
    Closing, ConnectionOpened, Ending, Event, Record, Revocation, RevocationChange,
};

/// An entry of the ledger.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A connection opened.
    Opened(Arc<ConnectionOpened>),
    /// A closing handshake made progress: not stored, but reported in order.
    Closing(Closing),
    /// A connection ended.
    Ended(Arc<Ending>),
    /// An attempt failed.
    OpenFailed(Arc<Ending>),
    /// A revocation was made or withdrawn. It takes effect once it is durable.
    Revocation(RevocationChange),
}

impl From<Entry> for Event {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Opened(opened) => Self::Opened(opened),
            Entry::Closing(closing) => Self::Closing(closing),
            Entry::Ended(ending) => Self::Ended(ending),
            Entry::OpenFailed(ending) => Self::OpenFailed(ending),
            Entry::Revocation(change) => Self::Revocation(change),
        }
    }
}

/// Receives the outcome of each entry, in the order in which the entries were appended.
pub trait Committed: Send + Sync + 'static {
    /// Receives an entry and its outcome. Must not block.
    fn committed(&self, entry: Entry, record: Record);
}

/// A store of endings.
///
/// Appending never waits for a disk: the ledger calls [`Committed`] when it is done. Every entry is
/// reported exactly once, in the order in which entries were appended, whatever happens to the
/// disk; [`Record`] is its outcome.
pub trait Ledger: Send + Sync + 'static {
    /// Appends an entry, and calls `committed` once it is durable or has failed to become so.
    fn append(&self, entry: Entry, committed: &Arc<dyn Committed>);

    /// Returns whether endings are being stored.
    fn health(&self) -> Health;

    /// Returns whether new connections are to be refused because they could not be recorded.
    fn refuses_new(&self) -> bool {
        self.health().refuses()
    }

    /// Returns for how long the oldest entry that is not yet durable has been waiting.
    fn lag(&self) -> Duration;

    /// Returns when the thread that stores entries, or reports them while a disk hangs, last took its
    /// turn, which it does every second. `None` if there is no such thread.
    fn turned(&self) -> Option<Instant> {
        None
    }

    /// Returns the revocations that are recorded, for a supervisor that starts; `None` until they
    /// can be read. By default there are none.
    fn revocations(&self) -> Option<RecordedRevocations> {
        Some(RecordedRevocations::default())
    }
}

/// The revocations that a ledger has recorded and that have not been withdrawn.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordedRevocations {
    /// The highest number that was ever assigned.
    pub last: u64,
    /// The revocations, ordered by number; some may have expired.
    pub revocations: Vec<Arc<Revocation>>,
}

/// The health of a ledger.
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
    /// Returns whether new connections are to be refused.
    pub fn refuses(&self) -> bool {
        matches!(self, Self::Failing { refuse: true, .. })
    }
}
