//! How a live connection fares.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{CloseState, ConnectionId, Origin, Traffic};

/// How a live connection fares, at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionStatus {
    /// The connection.
    pub id: ConnectionId,
    /// The node that owns it.
    pub node: Arc<str>,
    /// Where it came from.
    pub origin: Arc<Origin>,
    /// When it opened.
    pub opened_at: SystemTime,
    /// For how long it has been open.
    pub open_for: Duration,
    /// Where the closing handshake stands.
    pub state: CloseState,
    /// What was carried so far; what is undelivered is queued.
    pub traffic: Traffic,
}
