//! Helpers on top of tokio: tasks that survive a panic, and the clock.

pub(crate) mod tasks;

/// Returns the time of tokio's clock, which tests can pause.
pub(crate) fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
