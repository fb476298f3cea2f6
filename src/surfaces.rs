//! What people and machines see of the daemon; none imports another.
//!
//! Two modules here are no surfaces but what several of them share: [`serving`] serves HTTP on one
//! address, [`probes`] answers probes and scrapers.

#[cfg(feature = "daemon")]
pub mod cli;
pub mod control;
#[cfg(feature = "daemon")]
pub mod health;
#[cfg(feature = "daemon")]
pub mod log;
#[cfg(feature = "daemon")]
pub mod metrics;
pub mod probes;
pub mod serving;
#[cfg(feature = "daemon")]
pub mod systemd;
#[cfg(feature = "daemon")]
mod terminal;
