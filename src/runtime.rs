//! Helpers on top of tokio: tasks that survive a panic, and the clocks.

pub(crate) mod tasks;
pub(crate) mod wall_clock;

/// Returns the time of tokio's clock, which tests can pause.
pub(crate) fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
