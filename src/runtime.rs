//! Helpers on top of tokio: tasks that survive a panic, clocks, files that are small and change, and
//! buffers that connections share.

pub(crate) mod read_bounded;
pub(crate) mod scratch;
pub(crate) mod tasks;
pub(crate) mod wall_clock;
pub(crate) mod watched_file;

/// Returns the time of tokio's clock, which tests can pause.
pub(crate) fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
