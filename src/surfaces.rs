//! What people and machines see of the daemon; none imports another.

pub mod cli;
pub mod health;
pub mod log;
pub mod metrics;
pub mod systemd;

/// Whether the daemon takes new connections: what probes and the control API say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Readiness {
    /// Not every listener accepts yet.
    Starting,
    /// Every listener accepts.
    Ready,
    /// The daemon is about to stop.
    Draining,
}

impl Readiness {
    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}
