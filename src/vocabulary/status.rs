//! The status of a live connection.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{CloseState, ConnectionId, Origin, Traffic};

/// The status of a live connection at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionStatus {
    /// The connection.
    pub id: ConnectionId,
    /// The node that owns it.
    pub node: Arc<str>,
    /// Its origin.
    pub origin: Arc<Origin>,
    /// When it opened.
    pub opened_at: SystemTime,
    /// When it is closed because its grant expires.
    pub expires_at: Option<SystemTime>,
    /// How long it has been open.
    pub open_for: Duration,
    /// The state of the closing handshake.
    pub state: CloseState,
    /// The data carried so far; undelivered data is what is queued.
    pub traffic: Traffic,
}
