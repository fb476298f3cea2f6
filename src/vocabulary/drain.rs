//! The progress of a drain.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{CloseCode, CloseReason, CloseState, Requester, Selector};

contract_enum! {
    /// The phase of a drain.
    #[non_exhaustive]
    pub enum DrainPhase {
        /// It is closing connections, or waiting for them to end.
        Running = "running",
        /// All of its connections have ended, or were aborted at the deadline.
        Finished = "finished",
        /// An operator cancelled it.
        Cancelled = "cancelled",
    }
}

/// What a drain was asked to do, and its progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainProgress {
    /// Its id, which endings carry in `by` as `drain:<id>`.
    pub id: Arc<str>,
    /// Its phase.
    pub phase: DrainPhase,
    /// Which connections it closes.
    pub select: Selector,
    /// Whether new connections are still refused after it has finished.
    pub stay: bool,
    /// The close code it sends.
    pub code: CloseCode,
    /// The close reason it sends.
    pub reason: CloseReason,
    /// Who requested it.
    pub by: Option<Requester>,
    /// When it began.
    pub started_at: SystemTime,
    /// Its deadline, counted from its start.
    pub within: Duration,
    /// How long it has taken so far.
    pub took: Duration,
    /// Connections that were open at its start, or opened while it ran.
    pub total: usize,
    /// Connections for which a close was requested.
    pub asked: usize,
    /// Connections that have ended.
    pub closed: usize,
    /// Connections that were aborted at the deadline.
    pub cut: usize,
    /// Connections that are left, by the state of their closing handshake.
    pub left: Stragglers,
    /// Plain HTTP clients that a running drain of all connections waits for.
    pub http_left: u64,
}

/// The connections that a drain has left, by the state of their closing handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stragglers {
    /// No close was requested yet.
    pub open: usize,
    /// A close was requested, and the peer has not answered.
    pub close_sent: usize,
    /// The peer's Close was received, and ours is not sent yet.
    pub close_received: usize,
    /// Both Closes were exchanged, and TCP has not ended.
    pub closed: usize,
}

impl Stragglers {
    /// Counts one more connection in this state.
    pub fn count(&mut self, state: CloseState) {
        *match state {
            CloseState::Open => &mut self.open,
            CloseState::CloseSent => &mut self.close_sent,
            CloseState::CloseReceived => &mut self.close_received,
            CloseState::Closed => &mut self.closed,
        } += 1;
    }

    /// Returns the sum over all states.
    pub fn total(&self) -> usize {
        self.open + self.close_sent + self.close_received + self.closed
    }
}
