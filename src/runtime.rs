//! What the program adds to its async runtime: tasks that outlive a panic, and the clock.

pub(crate) mod tasks;

/// Reads the clock that tests can pause.
pub(crate) fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
