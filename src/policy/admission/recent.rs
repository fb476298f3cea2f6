//! What is remembered by network: counts for as long as they are above zero, rates for as long as
//! they matter. Nothing here is ever searched through.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::policy::rate::TokenBucket;

/// Counts above zero.
#[derive(Debug, Default)]
pub(super) struct Counts(HashMap<IpAddr, u64>);

impl Counts {
    pub(super) fn of(&self, network: IpAddr) -> u64 {
        self.0.get(&network).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, network: IpAddr) {
        *self.0.entry(network).or_default() += 1;
    }

    pub(super) fn subtract(&mut self, network: IpAddr) {
        if let Some(count) = self.0.get_mut(&network) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(&network);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The rates of those who came within the last second or two.
///
/// A bucket that rested for a second is full, as good as a new one. So buckets live in two
/// generations: those in use move into the younger one, and the older one is dropped whole once it
/// has rested.
#[derive(Debug)]
pub(super) struct Recent {
    per_second: u64,
    younger: HashMap<IpAddr, TokenBucket>,
    older: HashMap<IpAddr, TokenBucket>,
    turned: Instant,
}

/// How long a generation is the younger one.
const GENERATION: Duration = Duration::from_secs(1);

impl Recent {
    pub(super) fn new(per_second: u64, now: Instant) -> Self {
        Self { per_second, younger: HashMap::new(), older: HashMap::new(), turned: now }
    }

    /// Takes a token of this network's, if there is one.
    pub(super) fn take(&mut self, network: IpAddr, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.turned);
        if age >= GENERATION {
            // After two all of both have rested.
            let rested = age >= 2 * GENERATION;
            self.older = std::mem::take(&mut self.younger);
            if rested {
                self.older = HashMap::new();
            }
            self.turned = now;
        }
        if let Some(bucket) = self.younger.get_mut(&network) {
            return bucket.take(now);
        }
        let bucket = self.older.remove(&network);
        let Some(mut bucket) = bucket.or_else(|| TokenBucket::per_second(self.per_second, now))
        else {
            return true;
        };
        let taken = bucket.take(now);
        self.younger.insert(network, bucket);
        taken
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.younger.len() + self.older.len()
    }
}
