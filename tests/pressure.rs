//! Memory under attack: the daemon as a process, what it holds at worst and what it gives back.
//!
//! Each attack is run in a short form with every `cargo test`. The long forms are ignored;
//! `tests/pressure/run` runs them against a release build and prints what it measured.

// What fails in a helper of a test fails the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod support;

mod pressure {
    mod attacks;
    mod cgroup;
    mod measured;

    use std::time::Duration;

    use attacks::{empty_frames, failed_handshakes, half_messages, unfinished_headers};
    use measured::Measured;

    const MIB: u64 = 1 << 20;

    /// The cgroup in which nothing may end the daemon, where cgroups may be made.
    const CGROUP: u64 = 256 * MIB;

    /// How long each attack lasts.
    const SHORT: Duration = Duration::from_secs(2);
    const LONG: Duration = Duration::from_secs(8);

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn half_messages_stay_within_the_memory() {
        let measured = Measured::start(8 * MIB, CGROUP).await;
        let attack = half_messages(measured.address(), 100, MIB as usize, SHORT);
        measured.under("100 half messages of 1 MiB", 100, attack).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn unfinished_headers_stay_within_the_memory() {
        let measured = Measured::start(8 * MIB, CGROUP).await;
        let attack = unfinished_headers(measured.address(), 1000, 15_000, SHORT);
        measured.under("1,000 unfinished headers of 15 KB", 1000, attack).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn failed_handshakes_give_their_memory_back() {
        let measured = Measured::start(32 * MIB, CGROUP).await;
        let attack = failed_handshakes(measured.address(), 2000);
        measured.under("2,000 failed handshakes", 2000, attack).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "a minute: tests/pressure/run"]
    async fn long_half_messages() {
        let measured = Measured::start(32 * MIB, CGROUP).await;
        let attack = half_messages(measured.address(), 1500, MIB as usize, LONG);
        measured.under("1,500 half messages of 1 MiB less a byte", 1500, attack).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "a minute: tests/pressure/run"]
    async fn long_unfinished_headers() {
        let measured = Measured::start(32 * MIB, CGROUP).await;
        let attack = unfinished_headers(measured.address(), 10_000, 15_000, LONG);
        measured.under("10,000 unfinished headers of 15 KB", 10_000, attack).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "a minute: tests/pressure/run"]
    async fn long_unfinished_headers_with_the_default_memory() {
        let measured = Measured::start_with_default_memory(CGROUP).await;
        let attack = unfinished_headers(measured.address(), 10_000, 15_000, LONG);
        measured.under("the same, limits.memory as shipped", 10_000, attack).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "a minute: tests/pressure/run"]
    async fn long_half_messages_with_the_default_memory() {
        let measured = Measured::start_with_default_memory(CGROUP).await;
        let attack = half_messages(measured.address(), 1500, MIB as usize, LONG);
        measured.under("1,500 half messages, limits.memory as shipped", 1500, attack).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "a minute: tests/pressure/run"]
    async fn long_empty_frames() {
        let measured = Measured::start(32 * MIB, CGROUP).await;
        let attack = empty_frames(measured.address(), 50, LONG);
        measured.under("50 clients that send empty frames and do not read", 50, attack).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "a minute: tests/pressure/run"]
    async fn long_failed_handshakes() {
        let measured = Measured::start(32 * MIB, CGROUP).await;
        let attack = failed_handshakes(measured.address(), 20_000);
        measured.under("20,000 failed handshakes", 20_000, attack).await;
    }
}
