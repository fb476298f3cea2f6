//! Counts and rates, by client network as a rule. Counts are dropped at zero and rates once their
//! bucket is full again, without ever searching a map.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::policy::rate::TokenBucket;

/// The counts that are above zero.
#[derive(Debug)]
pub(super) struct Counts<K = IpAddr>(HashMap<K, u64>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq> Counts<K> {
    pub(super) fn of<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> u64
    where
        K: Borrow<Q>,
    {
        self.0.get(key).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, key: K) {
        *self.0.entry(key).or_default() += 1;
    }

    pub(super) fn subtract<Q: Hash + Eq + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        if let Some(count) = self.0.get_mut(key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(key);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The token buckets of the networks that connected within the last second or two.
///
/// A bucket that was not used for a second is full, like a new one. Buckets therefore live in two
/// generations: a bucket in use moves to the younger one, and the older one is dropped whole once
/// its buckets are full.
#[derive(Debug)]
pub(super) struct Rates {
    per_second: u64,
    younger: HashMap<IpAddr, TokenBucket>,
    older: HashMap<IpAddr, TokenBucket>,
    rotated: Instant,
}

/// How long a generation is the younger one.
const GENERATION: Duration = Duration::from_secs(1);

impl Rates {
    pub(super) fn new(per_second: u64, now: Instant) -> Self {
        Self { per_second, younger: HashMap::new(), older: HashMap::new(), rotated: now }
    }

    /// Takes a token of this network, and returns whether there was one.
    pub(super) fn take(&mut self, network: IpAddr, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.rotated);
        if age >= GENERATION {
            // After two generations all buckets of both are full.
            let both_full = age >= 2 * GENERATION;
            self.older = std::mem::take(&mut self.younger);
            if both_full {
                self.older = HashMap::new();
            }
            self.rotated = now;
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
    pub(super) fn len(&self) -> usize {
        self.younger.len() + self.older.len()
    }
}
