//! What people and machines see of the daemon; none imports another.

pub mod log;
pub mod systemd;
