//! Decisions without I/O: time comes in as an argument, and nothing is awaited.

pub mod admission;
pub mod balance;
pub mod drain;
pub mod expiry;
pub mod liveness;
pub mod log_throttle;
pub mod masking;
pub mod rate;
pub mod reconnect;
pub mod restarting;
pub mod revocations;
pub mod trimming;
