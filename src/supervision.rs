//! The actors: one supervisor, one actor per connection, and what they share.
//!
//! This is the only place that names ractor. Abrupt ends reach the supervisor as typed failures,
//! clean ends as clean stops; whatever happens, each connection gets exactly one ending.

mod attempt;
mod backend;
mod books;
mod broadcast;
mod connection;
mod core;
mod decider;
mod drain;
mod endings;
mod failure;
mod handle;
mod inbox;
mod listener;
mod memory;
mod mover;
mod node;
mod observing;
mod outbox;
mod plain;
mod publication;
mod registry;
mod relay;
mod route;
mod scratch;
mod supervisor;
mod tasks;
mod watch;

#[cfg(test)]
mod tests;

pub use backend::{Backend, CloseReply, Handler, HandlerFailure, ReceiveError, Receiver};
pub use broadcast::BroadcastReport;
pub use drain::{DrainOptions, DrainReport, DrainUnderWay};
pub use endings::MissedEndings;
pub use failure::ConnectionFailure;
pub use handle::{ConnectionHandle, SendError, TrySendError};
pub use inbox::Incoming;
pub use listener::{ListenError, ListenerHandle};
pub use memory::MemoryBudget;
pub use node::{NotAccepting, ShutDown};
pub use registry::Accounting;
pub use relay::{DrainBackendError, NoBackend, Relay};
pub use route::{Accept, OpeningRequest, Refuse, Route};

pub(crate) use attempt::Attempt;
pub(crate) use backend::made;
pub(crate) use core::{Core, Parts};
pub(crate) use endings::{BACKLOG as ENDING_BACKLOG, EndingQueue};
pub(crate) use listener::masking_of;
pub(crate) use observing::Observer;
pub(crate) use relay::{NotWaiting, Waiting};
pub(crate) use supervisor::Adoption;
#[cfg(test)]
pub(crate) use tasks::panic_points;
pub(crate) use tasks::{Panicked, Task, catch};
pub(crate) use watch::{Sought, Watch};

/// Reads the clock that tests can pause.
fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
