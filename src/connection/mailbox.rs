//! What the actor of a connection is told.

use crate::protocol::closing_handshake::Input;

/// What the actor of a connection is told.
#[derive(Debug)]
pub(crate) enum ConnectionMessage {
    /// A close was accepted, or something happened.
    Fact(Input),
    /// The deadline of the closing handshake has come.
    Deadline,
    /// The mover has let the transport go, or died.
    Released,
    /// Panics, so that tests can see what becomes of the connection.
    #[cfg(test)]
    Panic,
}
