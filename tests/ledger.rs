//! The durable ledger under the daemon: killed at any time, on disks that fail, in wrong hands.

// What fails in a helper of a test fails the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

/// One file per question.
mod ledger {
    mod disk;
    mod killing;
    mod ledger_file;
    mod revoking;
    mod sharing;
    mod starting;

    /// The program under test.
    const PROGRAM: &str = env!("CARGO_BIN_EXE_lastword");
}
