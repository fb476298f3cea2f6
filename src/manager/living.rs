//! Proofs of life, for a watchdog.

use std::time::Instant;

use tokio::sync::oneshot;

use super::Supervisor;
use crate::listening::listener::ListenerLife;
use crate::node::adoption::SupervisorMessage;

impl Supervisor {
    /// Waits until the supervisor's actor answers; `false` if it has ended. Cancel safe.
    pub(crate) async fn answers(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        let asked = self.inner.node.supervisor.cast(SupervisorMessage::Ping(answer));
        asked.is_ok() && answered.await.is_ok()
    }

    /// Asks the task of each listener to take its turn, and returns when each last did.
    pub(crate) fn listeners_alive(&self) -> Vec<ListenerLife> {
        self.inner.listeners.ask()
    }

    /// Returns when the ledger last took its turn: its writer or, while a disk hangs, whatever reports
    /// in its place. `None` if it has no thread of its own.
    pub(crate) fn ledger_alive(&self) -> Option<Instant> {
        self.inner.node.publisher.ledger().turned()
    }
}
