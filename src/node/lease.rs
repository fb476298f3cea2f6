//! A connection's share of the application it was opened to.

use crate::vocabulary::Outcome;

/// A connection's share of an application. It counts as a connection there until it is dropped.
pub(crate) trait Lease: Send + Sync {
    /// Returns whether the application is being drained.
    fn drains(&self) -> bool;

    /// Reports how the connection ended.
    fn ended(self: Box<Self>, outcome: &Outcome);
}
