//! How a dialer fares: a named outbound connection that is kept alive.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{ConnectionId, Ending, Requester};

words! {
    /// Where a dialer stands.
    #[non_exhaustive]
    pub enum DialerPhase {
        /// It dials, or waits for its turn to.
        Connecting = "connecting",
        /// Its connection is open and not ready, or is being closed.
        Open = "open",
        /// Its connection is open, and what makes it ready has come.
        Ready = "ready",
        /// It waits before it dials again.
        Waiting = "waiting",
        /// Somebody paused it.
        Paused = "paused",
        /// It would end the same way again: it waits to be resumed.
        GivenUp = "given_up",
    }
}

/// How a dialer fares, at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct DialerStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Its URL, masked as `[records]` says.
    pub url: Arc<str>,
    /// Where it stands.
    pub phase: DialerPhase,
    /// Why it waits, or has given up.
    pub why: Option<String>,
    /// Since when it stands there.
    pub since: SystemTime,
    /// When it dials again, if it waits for that.
    pub next_try_at: Option<SystemTime>,
    /// Ends since a connection last held for `reconnect.stable_after`.
    pub attempts: u32,
    /// Its connection, if one is open.
    pub connection: Option<ConnectionId>,
    /// Whether another connection is on its way to replace that one.
    pub rotating: bool,
    /// How its last connection, or attempt, ended.
    pub last: Option<Arc<Ending>>,
    /// Connections that it has opened.
    pub opened: u64,
    /// Times in which none was ready, after one had been.
    pub gaps: u64,
    /// Who made it while the process ran.
    pub by: Option<Requester>,
}

/// A dialer that will dial again.
#[derive(Debug, Clone, PartialEq)]
pub struct Reconnecting {
    /// Which.
    pub dialer: Arc<str>,
    /// What it was that ended, and why.
    pub ending: Arc<Ending>,
    /// Ends since a connection last held, this one included.
    pub attempt: u32,
    /// How long it waits.
    pub wait: Duration,
    /// When it dials again.
    pub next_try_at: SystemTime,
}

/// A change in what a dialer provides.
#[derive(Debug, Clone, PartialEq)]
pub struct DialerNews {
    /// Which dialer.
    pub dialer: Arc<str>,
    /// When.
    pub at: SystemTime,
    /// What.
    pub change: DialerChange,
}

/// What changed in what a dialer provides.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum DialerChange {
    /// A connection is ready.
    Ready {
        /// Which.
        connection: ConnectionId,
        /// The one it replaces, which is closed now.
        replaces: Option<ConnectionId>,
        /// For how long none was, if one had been before.
        gap: Option<Span>,
    },
    /// The connection that was replaced has ended: both were open for a while.
    Overlapped {
        /// The one that is kept.
        connection: ConnectionId,
        /// The one that was replaced.
        replaced: ConnectionId,
        /// For how long there were both.
        overlap: Span,
    },
    /// Somebody paused it.
    Paused,
    /// Somebody resumed it.
    Resumed,
    /// Somebody removed it.
    Removed,
    /// It does not dial again by itself.
    GivenUp {
        /// What it was that ended.
        ending: ConnectionId,
        /// Why that is the last.
        why: String,
    },
}

impl DialerChange {
    /// Returns the word of the contract.
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

/// A stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its beginning.
    pub from: SystemTime,
    /// Its end.
    pub until: SystemTime,
}

impl Span {
    /// Returns how long it is; zero where the clock was set back meanwhile.
    pub fn duration(&self) -> Duration {
        self.until.duration_since(self.from).unwrap_or_default()
    }
}
