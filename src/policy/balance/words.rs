//! The words of balancing: how to choose, what was chosen, how an instance fares, what changed.

use std::fmt;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::Sign;
use crate::vocabulary::BackendState;

/// How one of several instances is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Balance {
    /// In turn.
    #[default]
    RoundRobin,
    /// The one with the fewest connections; in turn among equals.
    LeastConnections,
    /// The same for each address of a client, as long as it serves; where one comes or goes, only its
    /// own clients move (rendezvous hashing).
    ClientAddress,
}

impl Balance {
    /// Every value.
    pub const ALL: [Self; 3] = [Self::RoundRobin, Self::LeastConnections, Self::ClientAddress];

    /// Returns the word of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastConnections => "least_connections",
            Self::ClientAddress => "client_address",
        }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// When an instance is ejected, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row.
    pub after: NonZeroU32,
    /// How long it gets no clients then.
    pub lasting: Duration,
}

/// An instance that was chosen for a client; it counts as a connection until it is released.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "it counts as a connection until it is given to `Pool::release`"]
pub struct Choice {
    pub(super) instance: usize,
    pub(super) era: u64,
    pub(super) fails_open: bool,
}

impl Choice {
    /// Returns which instance it is.
    pub fn instance(&self) -> usize {
        self.instance
    }

    /// Tells whether the instance is ejected or unhealthy, and was chosen for want of a better one.
    pub fn fails_open(&self) -> bool {
        self.fails_open
    }
}

/// Why no instance was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoApplication {
    /// All instances drain: there is nothing wrong, but nobody takes clients.
    #[error("every instance of the application is draining")]
    AllDraining,
    /// The client has tried all that do not drain.
    #[error("every instance of the application was tried")]
    Exhausted,
}

/// There is no instance with this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no instance {instance}: the application has {len}, numbered from 0")]
pub struct NoInstance {
    /// What was asked for.
    pub instance: usize,
    /// How many there are.
    pub len: usize,
}

/// What changed with an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It gets no clients for a while, as long as there are others.
    Ejected {
        /// Which.
        instance: usize,
        /// What was seen of it last.
        sign: Sign,
        /// How often in a row.
        failures: u32,
        /// When it returns.
        until: Instant,
    },
    /// It failed as often, but too many are ejected already; said once in a row of failures.
    Spared {
        /// Which.
        instance: usize,
        /// What was seen of it last.
        sign: Sign,
        /// How often in a row.
        failures: u32,
    },
    /// Its ejection is over; it gets clients again if it is healthy.
    Returned {
        /// Which.
        instance: usize,
    },
    /// Its health path does not answer well any more.
    Unhealthy {
        /// Which.
        instance: usize,
    },
    /// Its health path answers well again.
    Healthy {
        /// Which.
        instance: usize,
    },
    /// Somebody drains it.
    Draining {
        /// Which.
        instance: usize,
    },
    /// Somebody put it back into service.
    Resumed {
        /// Which.
        instance: usize,
    },
}

impl Change {
    /// Returns the word for it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Ejected { .. } => "ejected",
            Self::Spared { .. } => "spared",
            Self::Returned { .. } => "returned",
            Self::Unhealthy { .. } => "unhealthy",
            Self::Healthy { .. } => "healthy",
            Self::Draining { .. } => "draining",
            Self::Resumed { .. } => "resumed",
        }
    }

    /// Returns which instance it is about.
    pub const fn instance(&self) -> usize {
        match *self {
            Self::Ejected { instance, .. }
            | Self::Spared { instance, .. }
            | Self::Returned { instance }
            | Self::Unhealthy { instance }
            | Self::Healthy { instance }
            | Self::Draining { instance }
            | Self::Resumed { instance } => instance,
        }
    }
}

/// How an instance fares, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceView {
    /// Whether it gets clients, and if not, why.
    pub state: InstanceState,
    /// What its health path said last; true if it was never asked.
    pub healthy: bool,
    /// Connections that it has, those that are being opened included.
    pub connections: u64,
    /// Failures in a row: handshakes it did not answer, or connections it broke off, whichever are
    /// more.
    pub failures: u32,
    /// Times it was chosen.
    pub chosen: u64,
    /// Times it was ejected.
    pub ejections: u64,
}

/// Whether an instance gets clients; the strongest reason why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceState {
    /// It gets clients.
    Serving,
    /// What was seen of it has it ejected.
    Ejected {
        /// When it returns.
        until: Instant,
    },
    /// Its health path does not answer well.
    Unhealthy,
    /// Somebody drains it.
    Draining,
}

impl From<InstanceState> for BackendState {
    fn from(state: InstanceState) -> Self {
        match state {
            InstanceState::Serving => Self::Serving,
            InstanceState::Ejected { .. } => Self::Ejected,
            InstanceState::Unhealthy => Self::Unhealthy,
            InstanceState::Draining => Self::Draining,
        }
    }
}
