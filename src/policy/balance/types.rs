//! The types of balancing: settings, choices, changes, and the status of an instance.

use std::fmt;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::Observation;
use crate::vocabulary::BackendState;

/// How one of several instances is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Balance {
    /// In turn.
    #[default]
    RoundRobin,
    /// The one with the fewest connections; in turn among equals.
    LeastConnections,
    /// By the client's address: it keeps its instance while that serves, and when an instance comes
    /// or goes only its own clients move (rendezvous hashing).
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
    /// How many consecutive failures eject it.
    pub after: NonZeroU32,
    /// How long it then gets no clients.
    pub lasting: Duration,
}

/// An instance of a changed pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Succession {
    /// Its number in the pool, if it stays; `None` for a new one.
    pub stays: Option<usize>,
    /// Ranks a new one by the address of a client.
    pub key: u64,
}

/// An instance that was chosen for a client. It counts as a connection until it is released.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "it counts as a connection until it is given to `Pool::release`"]
pub struct Choice {
    pub(super) instance: usize,
    pub(super) generation: u64,
}

impl Choice {
    /// Returns the number of the instance.
    pub fn instance(&self) -> usize {
        self.instance
    }
}

/// Why no instance was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoApplication {
    /// All instances are draining.
    #[error("every instance of the application is draining")]
    AllDraining,
    /// The client has tried all instances that are not draining.
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

/// A change in the state of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It gets no clients for a while, as long as others serve.
    Ejected {
        /// Its number.
        instance: usize,
        /// The latest failure.
        observation: Observation,
        /// How many failures in a row.
        failures: u32,
        /// When it returns.
        until: Instant,
    },
    /// It failed often enough, but too many others are ejected; returned once per streak.
    Spared {
        /// Its number.
        instance: usize,
        /// The latest failure.
        observation: Observation,
        /// How many failures in a row.
        failures: u32,
    },
    /// Its ejection has ended; it gets clients again if it is healthy.
    Returned {
        /// Its number.
        instance: usize,
    },
    /// Its health check fails.
    Unhealthy {
        /// Its number.
        instance: usize,
    },
    /// Its health check succeeds again.
    Healthy {
        /// Its number.
        instance: usize,
    },
    /// An operator drains it.
    Draining {
        /// Its number.
        instance: usize,
    },
    /// An operator put it back into service.
    Resumed {
        /// Its number.
        instance: usize,
    },
}

impl Change {
    /// Returns the word that is logged.
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

    /// Returns the number of the instance.
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

/// The status of an instance at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceView {
    /// Whether it gets clients, and if not, why.
    pub state: InstanceState,
    /// The result of its last health check; true before the first.
    pub healthy: bool,
    /// Its connections, including those that are being opened.
    pub connections: u64,
    /// Consecutive failures: unanswered handshakes or broken connections, whichever are more.
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
    /// It was ejected for its failures.
    Ejected {
        /// When it returns.
        until: Instant,
    },
    /// Its health check fails.
    Unhealthy,
    /// An operator drains it.
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
