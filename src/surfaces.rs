//! The interfaces of the daemon to people and machines; none imports another.
//!
//! Three modules are shared by several of them: [`serving`] serves HTTP on one address, [`probes`]
//! answers probes and scrapers, and [`reloads`] takes requests to reload the configuration.

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
pub mod reloads;
pub mod serving;
#[cfg(feature = "daemon")]
pub mod systemd;
#[cfg(feature = "daemon")]
mod terminal;
