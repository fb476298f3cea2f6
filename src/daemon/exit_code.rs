//! The exit codes of the daemon.

/// The daemon stopped cleanly.
pub(super) const SUCCESS: u8 = 0;
/// The daemon failed, or was forced to stop.
pub(super) const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
pub(super) const BAD_USAGE: u8 = 2;
