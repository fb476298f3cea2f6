//! Lets a message that may repeat itself be told now and then, and counts the others. Pure.

use std::time::{Duration, Instant};

/// How often a message is told, and how often it was not.
#[derive(Debug)]
pub struct Repeats {
    every: Duration,
    told: Option<Instant>,
    untold: u64,
}

impl Repeats {
    /// Lets a message be told once in so much time.
    pub const fn new(every: Duration) -> Self {
        Self { every, told: None, untold: 0 }
    }

    /// Returns how often the message was left out since it was last told, if it is to be told now.
    pub fn tell(&mut self, now: Instant) -> Option<u64> {
        let is_due = self.told.is_none_or(|told| now.saturating_duration_since(told) >= self.every);
        if !is_due {
            self.untold += 1;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_at_once_and_then_now_and_then() {
        let mut repeats = Repeats::new(Duration::from_secs(10));
        let now = Instant::now();
        let at = |secs| now + Duration::from_secs(secs);
        let told: Vec<_> = [0, 1, 9, 10, 11, 30].map(|secs| repeats.tell(at(secs))).into();
        assert_eq!(told, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
