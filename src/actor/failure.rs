//! What a connection's actor fails with: how abrupt ends reach the supervisor.

use crate::vocabulary::Kind;

/// The typed failure of a connection's actor. A clean ending is no failure: the actor stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ConnectionFailure {
    /// The connection ended, and not clean.
    #[error("the connection ended: {0}")]
    Ended(Kind),
    /// The mover died before the closing handshake had ended.
    #[error("the connection's mover died")]
    MoverDied,
}
