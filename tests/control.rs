//! The control API over real sockets: every call, every refusal, and events without loss.

// What fails in a helper of a test fails the test.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod support;

/// One file per question.
mod control {
    mod access;
    mod backends;
    mod client;
    mod commanding;
    mod crowding;
    mod daemon;
    mod dialing;
    mod endings;
    mod events;
    mod injecting;
    mod page;
    mod resuming;
    mod revoking;
    mod showing;
    mod stage;

    /// The program under test.
    const PROGRAM: &str = env!("CARGO_BIN_EXE_lastword");
}
