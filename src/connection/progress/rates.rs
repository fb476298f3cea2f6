//! How much a peer may send per second, and what becomes of one that sends more.

use std::time::Instant;

use crate::policy::rate::TokenBucket;
use crate::settings::{Limits, OnRate};
use crate::vocabulary::Limit;

/// The rates that limit what a peer sends.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    // Boxed: most connections have no such limit.
    limited: Option<Box<Limited>>,
    /// Until when reading waits, because the peer has sent more than it may.
    held_back: Option<Instant>,
}

#[derive(Debug)]
struct Limited {
    bytes: Option<Rate>,
    messages: Option<Rate>,
}

#[derive(Debug)]
struct Rate {
    name: &'static str,
    per_second: u64,
    bucket: TokenBucket,
    on_rate: OnRate,
}

impl Rates {
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        let rate = |name, per_second, unset| {
            let bucket = TokenBucket::per_second(per_second, now)?;
            Some(Rate { name, per_second, bucket, on_rate: limits.on_rate.unwrap_or(unset) })
        };
        let bytes = rate("bytes_per_second", limits.bytes_per_second.0, OnRate::Slow);
        let messages = rate("messages_per_second", limits.messages_per_second, OnRate::Close);
        let is_limited = bytes.is_some() || messages.is_some();
        Self { limited: is_limited.then(|| Box::new(Limited { bytes, messages })), held_back: None }
    }

    /// Counts bytes that were read; returns the limit for which the connection is to be closed, if
    /// they were too many.
    pub(crate) fn count_bytes(&mut self, bytes: usize, now: Instant) -> Option<Limit> {
        self.count(|limited| limited.bytes.as_mut(), bytes as u64, now)
    }

    /// Counts messages, and the frames that cost as much, in the same way.
    pub(crate) fn count_messages(&mut self, messages: u32, now: Instant) -> Option<Limit> {
        self.count(|limited| limited.messages.as_mut(), u64::from(messages), now)
    }

    fn count(
        &mut self,
        which: impl Fn(&mut Limited) -> Option<&mut Rate>,
        count: u64,
        now: Instant,
    ) -> Option<Limit> {
        if count == 0 {
            return None;
        }
        let rate = which(self.limited.as_mut()?)?;
        let is_within = rate.bucket.spend(count, now);
        match rate.on_rate {
            OnRate::Slow => {
                self.held_back = self.held_back.max(rate.bucket.wait(now));
                None
            }
            OnRate::Close if is_within => None,
            OnRate::Close => {
                let observed = rate.per_second.saturating_add(1);
                Some(Limit { name: rate.name, limit: rate.per_second, observed })
            }
        }
    }

    /// Returns how many bytes may be read at once.
    pub(crate) fn most_bytes(&mut self, now: Instant) -> usize {
        let left = self.left(|limited| limited.bytes.as_mut(), now);
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    /// Returns how many messages may be taken at once.
    pub(crate) fn most_messages(&mut self, now: Instant) -> u32 {
        let left = self.left(|limited| limited.messages.as_mut(), now);
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// Returns what is left where more would have to wait; at least one, so that reading that must
    /// go on does.
    fn left(&mut self, which: impl Fn(&mut Limited) -> Option<&mut Rate>, now: Instant) -> u64 {
        match self.limited.as_mut().and_then(|limited| which(limited)) {
            Some(rate) if rate.on_rate == OnRate::Slow => rate.bucket.available(now).max(1),
            Some(_) | None => u64::MAX,
        }
    }

    /// Returns until when reading waits.
    pub(crate) fn held_back(&mut self, now: Instant) -> Option<Instant> {
        self.held_back = self.held_back.filter(|until| *until > now);
        self.held_back
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::settings::ByteSize;

    fn of(bytes: u64, messages: u64, on_rate: Option<OnRate>, now: Instant) -> Rates {
        let limits = Limits {
            bytes_per_second: ByteSize(bytes),
            messages_per_second: messages,
            on_rate,
            ..Limits::default()
        };
        Rates::new(&limits, now)
    }

    #[test]
    fn without_limits_nothing_is_counted() {
        let now = Instant::now();
        let mut rates = of(0, 0, Some(OnRate::Slow), now);
        assert_eq!(rates.count_bytes(usize::MAX, now), None);
        assert_eq!(rates.count_messages(u32::MAX, now), None);
        assert_eq!(rates.held_back(now), None);
        assert_eq!((rates.most_bytes(now), rates.most_messages(now)), (usize::MAX, u32::MAX));
    }

    #[test]
    fn too_many_bytes_wait_and_too_many_messages_close() {
        let now = Instant::now();
        let mut rates = of(1000, 10, None, now);
        assert_eq!((rates.most_bytes(now), rates.most_messages(now)), (1000, u32::MAX));
        assert_eq!(rates.count_bytes(1500, now), None);
        assert_eq!(rates.held_back(now), Some(now + Duration::from_millis(501)));
        assert_eq!(rates.count_messages(10, now), None);
        let limit = rates.count_messages(1, now).unwrap();
        assert_eq!((limit.name, limit.limit, limit.observed), ("messages_per_second", 10, 11));
    }

    #[test]
    fn one_setting_holds_for_both() {
        let now = Instant::now();
        let mut rates = of(1000, 10, Some(OnRate::Close), now);
        assert_eq!(rates.count_bytes(1001, now).unwrap().name, "bytes_per_second");
        let mut rates = of(1000, 10, Some(OnRate::Slow), now);
        assert_eq!((rates.count_messages(10, now), rates.most_messages(now)), (None, 1));
        let until = rates.held_back(now).unwrap();
        assert_eq!(until, now + Duration::from_millis(100));
        assert_eq!(rates.held_back(until), None, "the wait is over");
    }
}
