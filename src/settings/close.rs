//! The bounds of the closing handshake.

use std::time::Duration;

use serde::Deserialize;

use super::values;

/// Bounds the closing handshake.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Close {
    /// Bounds the closing handshake: queued data, our Close and the answer.
    ///
    /// Unit: duration, above zero. Default: 10s. Cost: a silent peer holds its connection for as
    /// long, then it ends as `close_timeout`.
    #[serde(deserialize_with = "values::duration")]
    pub timeout: Duration,
    /// Bounds the wait for the peer's FIN after both Closes.
    ///
    /// Unit: duration, at most `timeout`. Default: 2s, or a shorter `timeout`. Cost: holds a descriptor for as long; at 0s
    /// peers may see a reset instead of our Close.
    #[serde(deserialize_with = "values::duration")]
    pub linger: Duration,
    /// Appends the last 12 digits of the connection's id to close reasons that this end writes.
    ///
    /// Unit: true or false. Default: false. Cost: 13 bytes of the reason's 123; lets a client's
    /// report name the ending.
    pub reason_id: bool,
}

impl Default for Close {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), linger: Duration::from_secs(2), reason_id: false }
    }
}
