//! A token bucket whose burst is one second's worth of tokens.

use std::time::{Duration, Instant};

/// Allows `per_second` events per second, and that many at once after a second without any.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    per_second: u64,
    /// The tokens in the bucket, in millionths; below zero after more was spent than there was.
    micros: i64,
    filled: Instant,
}

impl TokenBucket {
    const TOKEN: i64 = 1_000_000;

    /// How long a wait for tokens is at least: who waits for one byte would be woken for each.
    const STEP: Duration = Duration::from_millis(50);

    /// Makes a full bucket; `None` for 0, which means no limit, and for rates beyond counting.
    pub fn per_second(per_second: u64, now: Instant) -> Option<Self> {
        let micros = i64::try_from(per_second).ok()?.checked_mul(Self::TOKEN)?;
        (per_second > 0).then_some(Self { per_second, micros, filled: now })
    }

    /// Takes a token, and returns whether there was one.
    pub fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let enough = self.micros >= Self::TOKEN;
        if enough {
            self.micros -= Self::TOKEN;
        }
        enough
    }

    /// Takes tokens for what has happened already, and returns whether there were so many. What was
    /// missing is owed.
    pub fn spend(&mut self, tokens: u64, now: Instant) -> bool {
        self.fill(now);
        let spent = i64::try_from(tokens).unwrap_or(i64::MAX).saturating_mul(Self::TOKEN);
        self.micros = self.micros.saturating_sub(spent);
        self.micros >= 0
    }

    /// Returns the number of tokens in the bucket.
    pub fn available(&mut self, now: Instant) -> u64 {
        self.fill(now);
        u64::try_from(self.micros / Self::TOKEN).unwrap_or(0)
    }

    /// Returns until when to wait because the bucket is empty; `None` while there is a token.
    pub fn wait(&mut self, now: Instant) -> Option<Instant> {
        self.fill(now);
        if self.micros >= Self::TOKEN {
            return None;
        }
        let missing = u64::try_from(Self::TOKEN.saturating_sub(self.micros)).unwrap_or(u64::MAX);
        let wait = Duration::from_micros(missing.div_ceil(self.per_second));
        Some(now + wait.max(Self::STEP))
    }

    fn fill(&mut self, now: Instant) {
        let most = self.per_second as i64 * Self::TOKEN;
        let passed = now.saturating_duration_since(self.filled);
        // Each microsecond adds `per_second` millionths.
        let passed = i64::try_from(passed.as_micros()).unwrap_or(i64::MAX);
        let fresh = passed.saturating_mul(self.per_second as i64);
        if fresh > 0 {
            self.micros = self.micros.saturating_add(fresh).min(most);
            self.filled = now;
        }
    }

    /// Returns whether a bucket from which tokens were only taken is full again, so that it need not
    /// be kept.
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
    fn what_was_missing_is_owed() {
        let start = Instant::now();
        let mut bucket = TokenBucket::per_second(1000, start).unwrap();
        assert!(bucket.spend(1000, start));
        assert_eq!((bucket.available(start), bucket.wait(start)), (0, Some(start + STEP)));
        assert!(!bucket.spend(500, start));
        // 500 that are owed, and one to go on with.
        assert_eq!(bucket.wait(start), Some(start + Duration::from_millis(501)));
        let later = start + Duration::from_millis(600);
        assert_eq!((bucket.available(later), bucket.wait(later)), (100, None));
        // A burst is one second's worth, however long the wait.
        assert_eq!(bucket.available(start + Duration::from_secs(60)), 1000);
    }

    #[test]
    fn nought_is_no_limit_and_the_largest_number_does_not_overflow() {
        let start = Instant::now();
        assert!(TokenBucket::per_second(0, start).is_none());
        assert!(TokenBucket::per_second(u64::MAX, start).is_none());
        let largest = i64::MAX as u64 / TokenBucket::TOKEN as u64;
        let mut bucket = TokenBucket::per_second(largest, start).unwrap();
        assert!(!bucket.spend(u64::MAX, start));
        assert!(bucket.wait(start).is_some());
        assert_eq!(bucket.available(start + Duration::from_secs(1 << 40)), largest);
    }

    const STEP: Duration = TokenBucket::STEP;
}
