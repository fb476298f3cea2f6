//! All connections of a process, counted at one moment.

use std::sync::Arc;

use super::{Cause, CloseState, Direction, Fault, Kind};

/// All connections of this process, counted at one moment.
///
/// In each line `opened` is `open` + `ended`, whatever happens meanwhile. Failed attempts, and what
/// was found in the ledger at start, are none of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Census {
    /// One line for each direction and route that ever had a connection.
    pub lines: Vec<CensusLine>,
    /// Data messages received, by open and by ended connections; it never falls.
    pub messages_in: u64,
    /// Data messages wholly handed to the kernel, likewise.
    pub messages_out: u64,
    /// Bytes of data that wait in the outboxes.
    pub outbox_bytes: u64,
    /// Bytes that queues, messages received in part and opening handshakes hold.
    pub memory_used: u64,
    /// Bytes that they may hold (`limits.memory`).
    pub memory_limit: u64,
}

/// The connections of one direction and route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CensusLine {
    /// Which way they were opened.
    pub direction: Direction,
    /// The route that matched; empty where there is none.
    pub route: Arc<str>,
    /// Connections that ever opened.
    pub opened: u64,
    /// Connections that are open, by where their closing handshake stands.
    pub open: OpenByState,
    /// Endings that were published.
    pub ended: Vec<(Verdict, u64)>,
}

impl CensusLine {
    /// Returns how many endings there were.
    pub fn ended_total(&self) -> u64 {
        self.ended.iter().map(|(_, count)| count).sum()
    }

    /// Tells whether the line balances.
    pub fn balances(&self) -> bool {
        self.opened == self.open.total() + self.ended_total()
    }
}

/// Open connections, by where their closing handshake stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenByState {
    counts: [u64; CloseState::ALL.len()],
}

impl OpenByState {
    /// Counts one more.
    pub fn count(&mut self, state: CloseState) {
        self.counts[state as usize] += 1;
    }

    /// Returns how many are in this state.
    pub fn of(&self, state: CloseState) -> u64 {
        self.counts[state as usize]
    }

    /// Returns how many there are.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// What endings are counted by: none of it is a peer's to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// What kind of ending it was.
    pub kind: Kind,
    /// Whose deed it was.
    pub fault: Fault,
    /// The first reason for this end to act.
    pub cause: Cause,
}
