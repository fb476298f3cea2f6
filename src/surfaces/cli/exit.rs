//! The exit codes of the client commands.

/// The request succeeded.
pub(super) const DONE: u8 = 0;

/// The request failed.
pub(super) const FAILED: u8 = 1;

/// The request was interrupted, as in shells.
pub(super) const INTERRUPTED: u8 = 130;
