//! Helpers on top of tokio: tasks that survive a panic, the clock, and files that change..

pub(crate) mod tasks;
pub(crate) mod wall_clock;
pub(crate) mod watched_file;

/// Returns the time of tokio's clock, which tests can pause.
pub(crate) fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
