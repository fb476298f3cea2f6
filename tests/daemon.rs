//! The daemon as its users have it: the built program, its arguments, signals, sockets and log.

// What fails in a helper of a test fails the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

/// One file per question.
mod daemon {
    mod activation;
    mod checking;
    mod container;
    mod dialling;
    mod fairness;
    mod hostile;
    mod notify;
    mod plain;
    mod planted;
    mod process;
    mod reloading;
    mod restarting;
    mod secrets;
    mod soak;
    mod starting;
    mod stopping;
    mod stopping_http;
    mod suspended;

    /// The program under test.
    const PROGRAM: &str = env!("CARGO_BIN_EXE_lastword");
}
