//! The exit codes of the client commands.

/// What was asked for was done.
pub(super) const DONE: u8 = 0;

/// What was asked for failed.
pub(super) const FAILED: u8 = 1;
