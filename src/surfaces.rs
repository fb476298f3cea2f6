//! What people and machines see of the daemon; none imports another.
//!
//! Two modules here are no surfaces but what several of them share: [`serving`] serves HTTP on one
//! address, [`probes`] answers probes and scrapers.

pub mod cli;
pub mod control;
pub mod health;
pub mod log;
pub mod metrics;
pub mod probes;
pub mod serving;
pub mod systemd;
mod terminal;
