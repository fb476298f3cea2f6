//! How far a drain is.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{CloseCode, CloseReason, CloseState, Requester, Selector};

words! {
    /// Where a drain stands.
    #[non_exhaustive]
    pub enum DrainPhase {
        /// It closes connections, or waits for them.
        Running = "running",
        /// Nobody is left, or what was left is cut off.
        Finished = "finished",
        /// Somebody called it off.
        Cancelled = "cancelled",
    }
}

/// How far a drain is: what it was asked to do, and what it came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainProgress {
    /// Names the drain, also in the `by` of endings: `drain:<id>`.
    pub id: Arc<str>,
    /// Where it stands.
    pub phase: DrainPhase,
    /// Which connections it closes.
    pub select: Selector,
    /// Whether new connections are refused also once it has finished.
    pub stay: bool,
    /// The code of its Closes.
    pub code: CloseCode,
    /// Their reason.
    pub reason: CloseReason,
    /// Who asked.
    pub by: Option<Requester>,
    /// When it began.
    pub started_at: SystemTime,
    /// How long it may take in all.
    pub within: Duration,
    /// How long it has taken so far.
    pub took: Duration,
    /// Connections that it found, or that came while it ran.
    pub total: usize,
    /// Connections that were asked to close.
    pub asked: usize,
    /// Connections that have ended.
    pub closed: usize,
    /// Connections that were cut off at the deadline.
    pub cut: usize,
    /// Connections that are left, by where their closing handshake stands.
    pub left: Stragglers,
}

/// Connections that are left, by where their closing handshake stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stragglers {
    /// Not yet asked.
    pub open: usize,
    /// Asked; the peer has not answered.
    pub close_sent: usize,
    /// The peer has closed; our Close has not left.
    pub close_received: usize,
    /// Both Closes are through; TCP has not ended.
    pub closed: usize,
}

impl Stragglers {
    /// Counts one more.
    pub fn count(&mut self, state: CloseState) {
        *match state {
            CloseState::Open => &mut self.open,
            CloseState::CloseSent => &mut self.close_sent,
            CloseState::CloseReceived => &mut self.close_received,
            CloseState::Closed => &mut self.closed,
        } += 1;
    }

    /// Returns how many there are.
    pub fn total(&self) -> usize {
        self.open + self.close_sent + self.close_received + self.closed
    }
}
