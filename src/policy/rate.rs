//! A token bucket whose burst is one second's worth of tokens.

use std::time::{Duration, Instant};

/// Allows `per_second` events per second, and that many at once after a second without any.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    per_second: u64,
    /// The tokens in the bucket, in millionths.
    micros: u64,
    filled: Instant,
}

impl TokenBucket {
    const TOKEN: u64 = 1_000_000;

    /// Makes a full bucket; `None` for 0, which means no limit, and for rates beyond counting.
    pub fn per_second(per_second: u64, now: Instant) -> Option<Self> {
        let micros = per_second.checked_mul(Self::TOKEN)?;
        (per_second > 0).then_some(Self { per_second, micros, filled: now })
    }

    /// Takes a token, and returns whether there was one.
    pub fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).min(Duration::from_secs(1));
        let passed = u64::try_from(passed.as_micros()).unwrap_or(Self::TOKEN);
        // Each microsecond adds `per_second` millionths. The constructor has checked that a whole
        // second's worth does not overflow.
        let fresh = self.per_second * passed;
        if fresh > 0 {
            self.micros = (self.micros + fresh).min(self.per_second * Self::TOKEN);
            self.filled = now;
        }
        let enough = self.micros >= Self::TOKEN;
        if enough {
            self.micros -= Self::TOKEN;
        }
        enough
    }

    /// Returns whether the bucket is full again, so that it need not be kept.
    pub fn is_full(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.filled) >= Duration::from_secs(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_once_and_so_many_a_second() {
        let start = Instant::now();
        let mut bucket = TokenBucket::per_second(10, start).unwrap();
        assert_eq!((0..20).filter(|_| bucket.take(start)).count(), 10);
        let taken = (1..=2000).filter(|ms| bucket.take(start + Duration::from_millis(*ms))).count();
        assert_eq!(taken, 20);
        assert!(bucket.is_full(start + Duration::from_secs(4)));
    }

    #[test]
    fn nought_is_no_limit_and_the_largest_number_does_not_overflow() {
        assert!(TokenBucket::per_second(0, Instant::now()).is_none());
        assert!(TokenBucket::per_second(u64::MAX, Instant::now()).is_none());
    }
}
