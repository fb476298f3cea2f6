//! A consistent count of all connections of a process.

use std::sync::Arc;

use super::{Cause, CloseState, Direction, Fault, Kind};

/// A consistent count of all connections of this process.
///
/// In each line `opened` equals `open` + `ended`, even while connections open and end. Failed
/// attempts and endings recovered from the ledger at start are not counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Census {
    /// One line for each direction and route that ever had a connection.
    pub lines: Vec<CensusLine>,
    /// Data messages received over all connections, open or ended; a counter that never decreases.
    pub messages_in: u64,
    /// Data messages wholly handed to the kernel; a counter that never decreases.
    pub messages_out: u64,
    /// Bytes of data queued in the outboxes.
    pub outbox_bytes: u64,
    /// Bytes held by queues, partly received messages and opening handshakes.
    pub memory_used: u64,
    /// The limit on those bytes (`limits.memory`).
    pub memory_limit: u64,
}

/// The connections of one direction and route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CensusLine {
    /// Which way they were opened.
    pub direction: Direction,
    /// The route that matched, or an empty string.
    pub route: Arc<str>,
    /// Connections opened since the process started.
    pub opened: u64,
    /// Open connections, by the state of their closing handshake.
    pub open: OpenByState,
    /// Endings that were published.
    pub ended: Vec<(Verdict, u64)>,
}

impl CensusLine {
    /// Returns the number of endings.
    pub fn ended_total(&self) -> u64 {
        self.ended.iter().map(|(_, count)| count).sum()
    }

    /// Returns whether `opened` equals `open` + `ended`.
    pub fn balances(&self) -> bool {
        self.opened == self.open.total() + self.ended_total()
    }
}

/// Open connections, by the state of their closing handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenByState {
    counts: [u64; CloseState::ALL.len()],
}

impl OpenByState {
    /// Counts one more connection in this state.
    pub fn count(&mut self, state: CloseState) {
        self.counts[state as usize] += 1;
    }

    /// Returns the number of connections in this state.
    pub fn of(&self, state: CloseState) -> u64 {
        self.counts[state as usize]
    }

    /// Returns the sum over all states.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// The properties by which endings are counted; a peer cannot choose any of them freely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// The kind of ending.
    pub kind: Kind,
    /// Who was at fault.
    pub fault: Fault,
    /// The first reason for this end to act.
    pub cause: Cause,
}
