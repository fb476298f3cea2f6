//! One event per fact: what the supervisor publishes.

use std::sync::Arc;
use std::time::SystemTime;

use super::{
    Cause, CloseState, ConnectionId, DialerNews, DrainProgress, Ending, Origin, Reconnecting,
};

/// Something that happened, in the order in which it was recorded.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A connection opened, and the ledger knows it.
    Opened(Arc<Opened>),
    /// A closing handshake began, or went on.
    Closing(Closing),
    /// A connection ended, and the ledger knows it.
    Ended(Arc<Ending>),
    /// An attempt failed.
    OpenFailed(Arc<Ending>),
    /// A dialer will dial again.
    Reconnecting(Arc<Reconnecting>),
    /// What a dialer provides has changed: ready after a gap, replaced, paused, given up.
    Dialer(Arc<DialerNews>),
    /// A drain began, ended or was cancelled.
    Drain(Arc<DrainProgress>),
    /// The reader was too slow: this many events are gone from its queue.
    Gap(u64),
}

impl Event {
    /// Returns about how much memory it holds.
    pub(crate) fn held_bytes(&self) -> usize {
        /// News of dialers and drains: some short texts.
        const NEWS: usize = 512;
        size_of::<Published>()
            + match self {
                Self::Closing(_) | Self::Gap(_) => 0,
                Self::Opened(opened) => opened.held_bytes(),
                Self::Ended(ending) | Self::OpenFailed(ending) => ending.held_bytes(),
                Self::Reconnecting(_) | Self::Dialer(_) | Self::Drain(_) => NEWS,
            }
    }
}

/// An event, and what became of its record.
#[derive(Debug, Clone)]
pub struct Published {
    /// What happened.
    pub event: Event,
    /// Whether it is on record.
    pub record: Record,
}

/// What became of the record of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    /// It is durable, and this is its place in the order of commits, which outlives the process.
    Durable(u64),
    /// The ledger could not store it: whoever logs must log it whole.
    Failed,
    /// An attempt beyond `ledger.open_failed_per_second`: only counted.
    Counted,
    /// The ledger keeps no such events.
    None,
}

impl Record {
    /// Returns the place in the order of commits.
    pub const fn sequence(self) -> Option<u64> {
        match self {
            Self::Durable(sequence) => Some(sequence),
            Self::Failed | Self::Counted | Self::None => None,
        }
    }
}

/// A connection that opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// The connection.
    pub id: ConnectionId,
    /// The node that owns it.
    pub node: Arc<str>,
    /// Where it came from.
    pub origin: Arc<Origin>,
    /// When it opened.
    pub opened_at: SystemTime,
}

impl Opened {
    /// Returns about how much memory it holds; its origin is the connection's own.
    pub(crate) fn held_bytes(&self) -> usize {
        size_of::<Self>()
    }
}

/// A closing handshake that began, or went on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// The connection.
    pub id: ConnectionId,
    /// Where the handshake stands now.
    pub state: CloseState,
    /// Why.
    pub cause: Cause,
    /// When.
    pub at: SystemTime,
}
