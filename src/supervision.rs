//! The actors: one supervisor, one actor per connection, and what they share.
//!
//! This is the only place that names ractor. Abrupt ends reach the supervisor as typed failures,
//! clean ends as clean stops; whatever happens, each connection gets exactly one ending.

mod backend;
mod connection;
mod decider;
mod drain;
mod failure;
mod handle;
mod inbox;
mod listener;
mod memory;
mod mover;
mod outbox;
mod publication;
mod registry;
mod supervisor;

#[cfg(test)]
mod tests;

pub use backend::{Backend, CloseReply, Handler, HandlerFailure, Receiver};
pub use failure::ConnectionFailure;
pub use handle::{ConnectionHandle, SendError, TrySendError};
pub use inbox::Incoming;
pub use memory::MemoryBudget;
pub use registry::Accounting;

/// Reads the clock that tests can pause.
fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
