//! The wall clock, which tests can set.

use std::time::SystemTime;

/// Returns the time of the wall clock.
pub(crate) fn now() -> SystemTime {
    #[cfg(test)]
    if let Some(time) = testing::now() {
        return time;
    }
    SystemTime::now()
}

/// A wall clock that runs as tokio's clock does, on this thread.
#[cfg(test)]
pub(crate) mod testing {
    use std::cell::Cell;
    use std::time::{Instant, SystemTime};

    thread_local! {
        static SET: Cell<Option<(SystemTime, Instant)>> = const { Cell::new(None) };
    }

    /// Sets the clock to a time.
    pub(crate) fn set(time: SystemTime) {
        SET.set(Some((time, crate::runtime::now())));
    }

    pub(super) fn now() -> Option<SystemTime> {
        SET.get().map(|(time, at)| time + crate::runtime::now().duration_since(at))
    }
}
