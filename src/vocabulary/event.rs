//! One event per fact: what the supervisor publishes.

use std::sync::Arc;
use std::time::SystemTime;

use super::{Cause, CloseState, ConnectionId, Ending, Origin};

/// Something that happened to a connection, in the order in which it was recorded.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A connection opened, and the ledger knows it.
    Opened(Arc<Opened>),
    /// A closing handshake began.
    Closing(Closing),
    /// A connection ended, and the ledger knows it.
    Ended(Arc<Ending>),
    /// An attempt failed.
    OpenFailed(Arc<Ending>),
    /// The reader was too slow: this many events are gone from its queue.
    Gap(u64),
}

/// A connection that opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// The connection.
    pub id: ConnectionId,
    /// The node that owns it.
    pub node: Arc<str>,
    /// Where it came from.
    pub origin: Arc<Origin>,
    /// When it opened.
    pub opened_at: SystemTime,
}

/// A closing handshake that began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// The connection.
    pub id: ConnectionId,
    /// Where the handshake stands now.
    pub state: CloseState,
    /// Why.
    pub cause: Cause,
}
