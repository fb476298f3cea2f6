//! What one connection holds of the memory of all.

use std::sync::atomic::Ordering;

use super::Connection;

/// What one connection holds, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    /// Of what was received in part.
    pub(crate) input: u64,
    pub(crate) inbox: u64,
    pub(crate) outbox: u64,
}

impl Held {
    pub(crate) fn by(connection: &Connection) -> Self {
        Self {
            input: connection.held_input.load(Ordering::Relaxed),
            inbox: connection.inbox.memory() as u64,
            outbox: connection.outbox.memory() as u64,
        }
    }

    pub(crate) fn total(self) -> u64 {
        self.input + self.inbox + self.outbox
    }
}
