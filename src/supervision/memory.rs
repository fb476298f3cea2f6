//! One budget of bytes for all inboxes and outboxes.

use std::sync::atomic::{AtomicU64, Ordering};

/// What all queues together may hold, in bytes.
#[derive(Debug)]
pub struct MemoryBudget {
    limit: u64,
    used: AtomicU64,
}

impl MemoryBudget {
    /// Makes a budget of this many bytes.
    pub const fn new(limit: u64) -> Self {
        Self { limit, used: AtomicU64::new(0) }
    }

    /// Returns what may be held, in bytes.
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// Returns what is held, in bytes.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Tells whether nothing more should be taken in.
    pub fn is_exhausted(&self) -> bool {
        self.used() >= self.limit
    }

    /// Charges `bytes` if they fit.
    pub(super) fn try_charge(&self, bytes: u64) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.limit;
        if !fits {
            self.release(bytes);
        }
        fits
    }

    /// Charges `bytes` that are in memory already, whether they fit or not.
    pub(super) fn charge(&self, bytes: u64) {
        // All threads share this memory: it is not touched without need.
        if bytes > 0 {
            self.used.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Gives back what was charged.
    pub(super) fn release(&self, bytes: u64) {
        if bytes > 0 {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_not_charged() {
        let budget = MemoryBudget::new(10);
        assert!(budget.try_charge(10));
        assert!(!budget.try_charge(1));
        assert!(budget.is_exhausted());
        budget.release(10);
        assert_eq!(budget.used(), 0);
    }
}
