//! What the integration tests share: peers that speak bytes, and the daemon as a process.
//!
//! A test crate says `mod support;`. Nothing here calls lastword, so a fault of lastword cannot
//! hide itself: frames and handshakes are encoded by hand. Every wait has a deadline and panics
//! with what it awaited.

// Each test crate uses a part of this module, and none exports it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

pub mod daemon;
pub mod frame;
pub mod http;
pub mod raw_peer;
pub mod tls;
pub mod volume;
pub mod wire;

use std::io::Write;
use std::time::Duration;

/// How long a test waits for something that is due at once, on a slow and busy machine. Shorter than
/// the default time limits of 10 s, so that one that ends the wait instead is noticed.
pub const SOON: Duration = Duration::from_secs(8);

/// How long a test listens to be sure that nothing comes.
pub const A_WHILE: Duration = Duration::from_millis(150);

/// Says that something could not be tested here, and why; tests/run counts the line.
pub fn skip(what: &str, why: &str) {
    // Not by a macro: the harness keeps what these print to itself when a test passes.
    let line = format!("SKIP {what}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("write to stderr");
}
