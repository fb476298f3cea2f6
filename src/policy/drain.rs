//! A drain: connections are closed over time, and the rest aborted at a deadline. Pure.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// Up to this many connections are closed at once when the spread is automatic.
const FEW: usize = 100;

/// Longer drains are cut to ten years, so that deadlines stay within the range of `Instant`.
const LONGEST: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// How fast the Closes of a drain are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pace {
    /// At once for up to 100 connections, over half of the time for more.
    #[default]
    Auto,
    /// Evenly over this time.
    Over(Duration),
    /// This many per second, or faster where the time would not suffice.
    PerSecond(NonZeroU32),
}

/// When to close how many of the connections, and when to abort the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainPlan {
    started: Instant,
    total: usize,
    spread: Duration,
    within: Duration,
}

impl DrainPlan {
    /// Plans to close `total` connections from `now` on at the given pace, and to abort those that
    /// are left after `within`.
    pub fn new(now: Instant, total: usize, within: Duration, pace: Pace) -> Self {
        let within = within.min(LONGEST);
        let spread = match pace {
            Pace::Auto if total <= FEW => Duration::ZERO,
            Pace::Auto => within / 2,
            Pace::Over(spread) => spread,
            Pace::PerSecond(rate) => Duration::from_secs_f64(
                (total as f64 / f64::from(rate.get())).min(LONGEST.as_secs_f64()),
            ),
        };
        Self { started: now, total, spread: spread.min(within), within }
    }

    /// Returns how many connections should have been closed by now.
    pub fn due(&self, now: Instant) -> usize {
        let passed = now.saturating_duration_since(self.started);
        if passed >= self.spread {
            return self.total;
        }
        // The first is due at once, the last at the end of the spread.
        let due = self.total as u128 * passed.as_nanos() / self.spread.as_nanos();
        usize::try_from(due).unwrap_or(self.total).saturating_add(1).min(self.total)
    }

    /// Returns when the next connection is due after `closed` of them; `None` after the last.
    pub fn next_due(&self, closed: usize) -> Option<Instant> {
        if closed >= self.total {
            return None;
        }
        // Rounded up, so that it is due by then.
        let share = (self.spread.as_nanos() * closed as u128).div_ceil(self.total as u128);
        Some(self.started + Duration::from_nanos(u64::try_from(share).unwrap_or(u64::MAX)))
    }

    /// Returns when the connections that are left are aborted.
    pub fn deadline(&self) -> Instant {
        self.started + self.within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn few_are_closed_at_once_and_many_over_half_the_time() {
        let start = Instant::now();
        assert_eq!(DrainPlan::new(start, 100, MINUTE, Pace::Auto).due(start), 100);
        let many = DrainPlan::new(start, 3000, MINUTE, Pace::Auto);
        assert_eq!(many.due(start), 1);
        assert_eq!(many.due(start + MINUTE / 4), 1501);
        assert_eq!(many.due(start + MINUTE / 2), 3000);
        assert_eq!(many.deadline(), start + MINUTE);
    }

    #[test]
    fn every_wait_brings_the_next_one_and_the_last_comes_within_the_spread() {
        let start = Instant::now();
        let plan = DrainPlan::new(start, 977, MINUTE, Pace::Over(MINUTE / 3));
        let (mut closed, mut waits) = (0, 0);
        while let Some(at) = plan.next_due(closed) {
            assert!(at <= start + MINUTE / 3);
            let due = plan.due(at);
            assert!(due > closed, "{due} {closed}");
            closed = due;
            waits += 1;
        }
        assert_eq!((closed, waits <= 977), (977, true));
    }

    #[test]
    fn a_rate_is_kept_unless_the_time_would_not_do() {
        let start = Instant::now();
        let rate = |rate| Pace::PerSecond(NonZeroU32::new(rate).unwrap());
        let plan = DrainPlan::new(start, 600, MINUTE, rate(20));
        assert_eq!(plan.due(start + Duration::from_secs(10)), 201);
        assert_eq!(plan.due(start + Duration::from_secs(30)), 600);
        let hurried = DrainPlan::new(start, 6000, MINUTE, rate(20));
        assert_eq!(hurried.due(start + MINUTE), 6000);
        assert_eq!(hurried.next_due(5999).map(|at| at < start + MINUTE), Some(true));
    }

    #[test]
    fn nothing_to_drain_is_done_at_once() {
        let plan = DrainPlan::new(Instant::now(), 0, MINUTE, Pace::Over(MINUTE));
        assert_eq!(plan.next_due(0), None);
    }

    #[test]
    fn the_longest_wait_fits_into_the_clock() {
        let plan = DrainPlan::new(Instant::now(), 3, Duration::MAX, Pace::Over(Duration::MAX));
        assert!(plan.deadline() > Instant::now() && plan.next_due(1).is_some());
    }
}
