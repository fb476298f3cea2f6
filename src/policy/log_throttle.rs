//! Limits how often a message that may repeat is logged, and counts the suppressed ones. Pure.

use std::time::{Duration, Instant};

/// Lets one message through per interval.
#[derive(Debug)]
pub struct LogThrottle {
    interval: Duration,
    last: Option<Instant>,
    suppressed: u64,
}

impl LogThrottle {
    /// Allows the message once per `interval`.
    pub const fn new(interval: Duration) -> Self {
        Self { interval, last: None, suppressed: 0 }
    }

    /// Returns how often the message was suppressed since it was last logged if it may be logged
    /// now; otherwise counts it as suppressed.
    pub fn check(&mut self, now: Instant) -> Option<u64> {
        let is_due =
            self.last.is_none_or(|last| now.saturating_duration_since(last) >= self.interval);
        if !is_due {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_passes_and_then_one_per_interval() {
        let mut throttle = LogThrottle::new(Duration::from_secs(10));
        let now = Instant::now();
        let at = |secs| now + Duration::from_secs(secs);
        let passed: Vec<_> = [0, 1, 9, 10, 11, 30].map(|secs| throttle.check(at(secs))).into();
        assert_eq!(passed, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
