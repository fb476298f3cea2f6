//! The store of endings: what it keeps is durable before anybody is told.

mod memory;

use std::sync::Arc;

pub use memory::InMemory;

use crate::vocabulary::{Ending, Opened};

/// One thing that the ledger keeps.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A connection opened.
    Opened(Arc<Opened>),
    /// A connection ended.
    Ended(Arc<Ending>),
    /// An attempt failed.
    OpenFailed(Arc<Ending>),
}

/// Takes entries once they are durable, in the order of their commit.
pub trait Committed: Send + Sync + 'static {
    /// Takes note that an entry is durable. It must not block.
    fn committed(&self, entry: Entry);
}

/// A store of endings.
///
/// Whoever appends never waits for a disk: the ledger tells [`Committed`] when it is done. An entry
/// that was appended is told of exactly once, in the order in which entries were appended.
pub trait Ledger: Send + Sync + 'static {
    /// Appends an entry, and tells `committed` once it is durable.
    fn append(&self, entry: Entry, committed: &Arc<dyn Committed>);
}
