//! How long to wait before a task that panicked is run again. Pure.

use std::time::Duration;

/// The wait after the first panic.
const SHORTEST: Duration = Duration::from_millis(100);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(30);

/// A task that ran for this long before it panicked starts over at the shortest wait.
const STABLE: Duration = Duration::from_secs(60);

/// Computes the waits between the runs of one task that panics.
#[derive(Debug, Clone, Default)]
pub struct Restarts {
    /// Panics since the task last ran for [`STABLE`].
    panics: u32,
}

impl Restarts {
    /// Returns how long to wait after a panic of a task that ran for `ran`: twice as long each time,
    /// up to half a minute.
    pub fn handle_panic(&mut self, ran: Duration) -> Duration {
        if ran >= STABLE {
            self.panics = 0;
        }
        let wait = SHORTEST.saturating_mul(2_u32.saturating_pow(self.panics)).min(LONGEST);
        self.panics = self.panics.saturating_add(1);
        wait
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_wait_doubles_until_the_task_has_held() {
        let mut restarts = Restarts::default();
        let mut wait = |ran| restarts.handle_panic(Duration::from_secs(ran)).as_millis();
        let waits: Vec<_> = (0..10).map(|_| wait(59)).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000]);
        assert_eq!(wait(60), 100);
        assert_eq!(wait(0), 200);
    }

    proptest! {
        #[test]
        fn every_wait_is_within_its_bounds(
            ran in proptest::collection::vec(0..200_u64, 1..200)
        ) {
            let mut restarts = Restarts::default();
            for ran in ran {
                let wait = restarts.handle_panic(Duration::from_secs(ran));
                prop_assert!((SHORTEST..=LONGEST).contains(&wait));
            }
        }
    }
}
