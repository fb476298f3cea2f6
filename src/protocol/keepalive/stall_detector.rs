//! Detects that this process did not run: stopped (SIGSTOP), suspended, or starved of CPU.
//!
//! A peer's silence counts only while this end could have read from it. A task that waits for a peer
//! therefore wakes at least once per [`STEP`], and a late wake-up shows how long it did not run.

use std::time::{Duration, Instant};

/// The longest time between two checks.
const STEP: Duration = Duration::from_secs(1);

/// How late a timer may fire on a busy machine.
const SLACK: Duration = Duration::from_millis(250);

/// The time allowed for reading what arrived during a stall.
const GRACE: Duration = Duration::from_millis(500);

/// Compares the time of each check with the time at which it was due.
#[derive(Debug, Default)]
pub struct StallDetector {
    /// When the next check is due, while a wait is under way.
    due: Option<Instant>,
    /// Whether the last check was late.
    was_late: bool,
}

impl StallDetector {
    /// Returns by how much to extend all waits, if this check is late.
    ///
    /// Only the first of several late checks in a row adds `GRACE`, so that a process that is always
    /// late still reaches its deadlines.
    pub fn check(&mut self, now: Instant) -> Option<Duration> {
        let delay = now.saturating_duration_since(self.due.take()?);
        let late = delay > SLACK;
        let grace = if self.was_late { Duration::ZERO } else { GRACE };
        self.was_late = late;
        late.then(|| delay + grace)
    }

    /// Returns when to check next, for a wait that ends at `until`.
    pub fn next_check(&mut self, now: Instant, until: Option<Instant>) -> Option<Instant> {
        self.due = until.map(|until| until.min(now + STEP));
        self.due
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Simulates a wait with these delays; returns how long the process ran until its end, and the
    /// number of checks.
    fn run(wait: Duration, delays: impl IntoIterator<Item = Duration>) -> (Duration, usize) {
        let start = Instant::now();
        let (mut now, mut until) = (start, start + wait);
        let (mut detector, mut stalled, mut checks) = (StallDetector::default(), Duration::ZERO, 0);
        let mut delays = delays.into_iter();
        while now < until {
            let due = detector.next_check(now, Some(until)).unwrap();
            let delay = delays.next().unwrap_or_default();
            now = due + delay;
            stalled += delay;
            checks += 1;
            if let Some(extension) = detector.check(now) {
                until += extension;
            }
        }
        (now - start - stalled, checks)
    }

    #[test]
    fn without_stalls_no_wait_is_extended() {
        let quick = std::iter::repeat(SLACK);
        assert_eq!(run(20 * SECOND, []).0, 20 * SECOND);
        // Late by less than the slack: it ends up to that early.
        assert!(run(20 * SECOND, quick).0 >= 15 * SECOND);
        assert_eq!(StallDetector::default().check(Instant::now()), None);
    }

    #[test]
    fn a_stop_is_not_counted_wherever_it_falls() {
        for second in 0..20 {
            let mut delays = vec![Duration::ZERO; second];
            delays.push(15 * SECOND);
            let (ran, _) = run(20 * SECOND, delays);
            assert_eq!(ran, 20 * SECOND + GRACE, "stopped at {second} s");
        }
    }

    #[test]
    fn there_is_no_stall_without_a_wait() {
        let start = Instant::now();
        let mut detector = StallDetector::default();
        assert_eq!(detector.next_check(start, None), None);
        assert_eq!(detector.check(start + 60 * SECOND), None);
    }

    proptest! {
        #[test]
        fn a_wait_ends_however_often_checks_are_late(
            wait in 1_u64..30_000,
            delays in proptest::collection::vec(0_u64..5_000, 0..200),
        ) {
            let wait = Duration::from_millis(wait);
            let delays = delays.into_iter().map(Duration::from_millis);
            let (ran, checks) = run(wait, delays);
            prop_assert!(ran + SLACK * checks as u32 >= wait);
            prop_assert!(checks <= 200 + 2 + wait.as_secs() as usize);
        }

        #[test]
        fn a_process_that_is_always_late_reaches_the_end_of_its_wait(wait in 1_u64..30_000, late in 251_u64..5_000) {
            let wait = Duration::from_millis(wait);
            let (_, checks) = run(wait, std::iter::repeat(Duration::from_millis(late)));
            prop_assert!(checks <= wait.as_secs() as usize + 3);
        }
    }
}
