//! What the closing handshake asks of the mover.

use std::time::Instant;

use crate::protocol::closing_handshake::Action;

/// What the closing handshake asks of the mover.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// What is to be done, in order.
    pub(crate) actions: Vec<Action>,
    /// When the closing handshake wants to be told of the time; none while it is open.
    pub(crate) deadline: Option<Instant>,
}
