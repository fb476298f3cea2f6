//! The status and events of a dialer, a named outbound connection that is kept alive.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{ConnectionId, Ending, Requester};

contract_enum! {
    /// The phase of a dialer.
    #[non_exhaustive]
    pub enum DialerPhase {
        /// It is dialling, or waiting for a free dial slot.
        Connecting = "connecting",
        /// Its connection is open but not ready, or is closing.
        Open = "open",
        /// Its connection is open and ready.
        Ready = "ready",
        /// It is waiting before it dials again.
        Waiting = "waiting",
        /// An operator paused it.
        Paused = "paused",
        /// It does not dial again, because the result would be the same, until it is resumed.
        GivenUp = "given_up",
    }
}

/// The status of a dialer at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct DialerStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Its URL, masked as `[records]` configures.
    pub url: Arc<str>,
    /// Its phase.
    pub phase: DialerPhase,
    /// Why it is waiting or has given up.
    pub why: Option<String>,
    /// Since when it has been in that phase.
    pub since: SystemTime,
    /// When it dials again, if it is waiting.
    pub next_try_at: Option<SystemTime>,
    /// Failures since a connection last held for `reconnect.stable_after`.
    pub attempts: u32,
    /// Its connection, if one is open.
    pub connection: Option<ConnectionId>,
    /// Whether another connection is being opened to replace that one.
    pub rotating: bool,
    /// The ending of its last connection or attempt.
    pub last: Option<Arc<Ending>>,
    /// How many connections it has opened.
    pub opened: u64,
    /// How many times it had no ready connection after having had one.
    pub gaps: u64,
    /// Who added it at run time.
    pub by: Option<Requester>,
}

/// A dialer that will dial again.
#[derive(Debug, Clone, PartialEq)]
pub struct Reconnecting {
    /// The name of the dialer.
    pub dialer: Arc<str>,
    /// The ending that made it dial again.
    pub ending: Arc<Ending>,
    /// Failures since a connection last held, including this one.
    pub attempt: u32,
    /// How long it waits.
    pub wait: Duration,
    /// When it dials again.
    pub next_try_at: SystemTime,
}

/// An event of a dialer.
#[derive(Debug, Clone, PartialEq)]
pub struct DialerEvent {
    /// The name of the dialer.
    pub dialer: Arc<str>,
    /// When it happened.
    pub at: SystemTime,
    /// What changed.
    pub change: DialerChange,
}

/// What changed at a dialer.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum DialerChange {
    /// A connection is ready.
    Ready {
        /// The connection.
        connection: ConnectionId,
        /// The connection it replaces, which is being closed.
        replaces: Option<ConnectionId>,
        /// When no connection was ready, if there had been one before.
        gap: Option<Interval>,
    },
    /// The replaced connection has ended after overlapping with the new one.
    Overlapped {
        /// The new connection.
        connection: ConnectionId,
        /// The replaced connection.
        replaced: ConnectionId,
        /// When both were open.
        overlap: Interval,
    },
    /// An operator paused it.
    Paused,
    /// An operator resumed it.
    Resumed,
    /// An operator removed it.
    Removed,
    /// It does not dial again until it is resumed.
    GivenUp {
        /// The connection or attempt whose ending caused this.
        ending: ConnectionId,
        /// Why it gave up.
        why: String,
    },
}

impl DialerChange {
    /// Returns the string of the contract.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Ready { .. } => "ready",
            Self::Overlapped { .. } => "overlapped",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Removed => "removed",
            Self::GivenUp { .. } => "given_up",
        }
    }
}

/// An interval of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Its beginning.
    pub from: SystemTime,
    /// Its end.
    pub until: SystemTime,
}

impl Interval {
    /// Returns its length, or zero if the clock was set back meanwhile.
    pub fn duration(&self) -> Duration {
        self.until.duration_since(self.from).unwrap_or_default()
    }
}
