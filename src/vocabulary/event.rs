//! The events that the supervisor publishes.

use std::sync::Arc;
use std::time::SystemTime;

use super::{
    Cause, CloseState, ConnectionId, DialerEvent, DrainProgress, Ending, Origin, Reconnecting,
    RevocationChange,
};

/// An event. Events are published in the order in which they were recorded.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A connection opened, and the ledger has recorded it.
    Opened(Arc<ConnectionOpened>),
    /// A closing handshake changed its state.
    Closing(Closing),
    /// A connection ended, and the ledger has recorded it.
    Ended(Arc<Ending>),
    /// An opening handshake failed.
    OpenFailed(Arc<Ending>),
    /// A dialer will dial again.
    Reconnecting(Arc<Reconnecting>),
    /// A dialer changed: ready after a gap, replaced, paused, given up.
    Dialer(Arc<DialerEvent>),
    /// A drain began, ended or was cancelled.
    Drain(Arc<DrainProgress>),
    /// A revocation was made or withdrawn, and the ledger has recorded it.
    Revocation(RevocationChange),
    /// The subscriber was too slow, and lost this many events.
    Gap(u64),
}

impl Event {
    /// Returns the approximate memory it occupies, in bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        /// An estimate for dialer and drain events, which hold a few short strings.
        const SMALL: usize = 512;
        size_of::<Published>()
            + match self {
                Self::Closing(_) | Self::Gap(_) => 0,
                Self::Opened(opened) => opened.held_bytes(),
                Self::Ended(ending) | Self::OpenFailed(ending) => ending.held_bytes(),
                Self::Reconnecting(_) | Self::Dialer(_) | Self::Drain(_) => SMALL,
                Self::Revocation(change) => change.revocation().held_bytes(),
            }
    }
}

/// An event and the state of its record.
#[derive(Debug, Clone)]
pub struct Published {
    /// What happened.
    pub event: Event,
    /// The state of its record.
    pub record: Record,
}

/// Whether and how an event was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    /// It is durable, with this position in the commit order, which survives restarts.
    Durable(u64),
    /// The ledger could not store it, so the log must carry all of it.
    Failed,
    /// A failed attempt beyond `ledger.open_failed_per_second`, which is only counted.
    Counted,
    /// The ledger does not record this kind of event.
    None,
}

impl Record {
    /// Returns the position in the commit order.
    pub const fn sequence(self) -> Option<u64> {
        match self {
            Self::Durable(sequence) => Some(sequence),
            Self::Failed | Self::Counted | Self::None => None,
        }
    }
}

/// A connection that opened.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionOpened {
    /// The connection.
    pub id: ConnectionId,
    /// The node that owns it.
    pub node: Arc<str>,
    /// Where it came from.
    pub origin: Arc<Origin>,
    /// The other leg of a relay.
    pub relay_peer: Option<ConnectionId>,
    /// When it opened.
    pub opened_at: SystemTime,
}

impl ConnectionOpened {
    /// Returns the approximate memory it occupies, in bytes, without the origin, which it shares.
    pub(crate) fn held_bytes(&self) -> usize {
        size_of::<Self>()
    }
}

/// A change in the state of a closing handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// The connection.
    pub id: ConnectionId,
    /// The new state.
    pub state: CloseState,
    /// Why the closing handshake began.
    pub cause: Cause,
    /// When the state changed.
    pub at: SystemTime,
}
