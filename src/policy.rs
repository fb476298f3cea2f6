//! What we choose, pure: time comes in as an argument, nothing is awaited.

pub mod admission;
pub mod balance;
pub mod drain;
pub mod masking;
pub mod rate;
pub mod reconnect;
pub mod repeats;
pub mod restarting;
pub mod trimming;
