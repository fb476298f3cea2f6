//! A hostile world: the daemon as a process, each attack and each fault, and what a bystander notices.
//!
//! Each is run in a short form with every `cargo test`. With LASTWORD_PRESSURE set it has its full
//! size: `tests/pressure/run` sets it, runs them against a release build and prints the table of the
//! guide (`under_attack`).

// What fails in a helper of a test fails the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod support;

mod pressure {
    mod account;
    mod bystander;
    mod cgroup;
    mod clients;
    mod disk;
    mod floods;
    mod handshakes;
    mod memory;
    mod network;
    mod proxy;
    mod resources;
    mod slow;
    mod stage;
    mod time;
    mod tls;

    use std::time::Duration;

    /// The program under test.
    const PROGRAM: &str = env!("CARGO_BIN_EXE_lastword");

    const MIB: u64 = 1 << 20;

    /// Whether attacks have their full size.
    fn is_long() -> bool {
        std::env::var_os("LASTWORD_PRESSURE").is_some()
    }

    /// Returns the size of an attack: in the short form, and in full.
    fn size<T>(short: T, full: T) -> T {
        if is_long() { full } else { short }
    }

    /// How long an attack lasts that can last as long as it likes.
    fn duration() -> Duration {
        size(Duration::from_millis(700), Duration::from_secs(8))
    }
}
