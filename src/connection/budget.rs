//! One budget of bytes for all that peers and backends can make a node hold, and what happens when
//! it is used up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// Opening handshakes may hold this part of the memory: one fourth.
const SHARE_OF_ATTEMPTS: u64 = 4;

/// What all connections and attempts together may hold, in bytes.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    limit: AtomicU64,
    used: AtomicU64,
    /// Of that, by attempts.
    attempts: AtomicU64,
    /// Attempts that ever asked for memory.
    attempted: AtomicU64,
    /// The most that was used since [`MemoryBudget::take_peak`].
    peak: AtomicU64,
    /// The budget was used up, and the relief has not answered yet.
    pub(crate) pressed: AtomicBool,
    pub(crate) pressure: Notify,
}

impl MemoryBudget {
    /// Makes a budget of this many bytes.
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit: AtomicU64::new(limit),
            used: AtomicU64::new(0),
            attempts: AtomicU64::new(0),
            attempted: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            pressed: AtomicBool::new(false),
            pressure: Notify::new(),
        }
    }

    /// Returns what may be held, in bytes.
    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Sets what may be held from now on, in bytes.
    pub(crate) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
        if self.is_exhausted() {
            self.press();
        }
    }

    /// Returns what is held, in bytes.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Returns whether nothing more should be taken in.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.used() >= self.limit()
    }

    /// Returns whether it is used up but for a part that a message may not fit into.
    pub(crate) fn is_nearly_exhausted(&self) -> bool {
        self.used() >= self.limit() / 8 * 7
    }

    /// Returns the most that was used since the last call.
    pub(crate) fn take_peak(&self) -> u64 {
        let used = self.used();
        self.peak.swap(used, Ordering::Relaxed).max(used)
    }

    /// Returns how many attempts ever asked for memory.
    pub(crate) fn attempted(&self) -> u64 {
        self.attempted.load(Ordering::Relaxed)
    }

    /// Charges what an attempt takes from its beginning on, if it fits.
    pub(crate) fn begin_attempt(&self, bytes: u64) -> bool {
        self.attempted.fetch_add(1, Ordering::Relaxed);
        self.try_charge_attempt(bytes)
    }

    /// Charges `bytes` if they fit.
    pub(crate) fn try_charge(&self, bytes: u64) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let after = before.saturating_add(bytes);
        let fits = after <= self.limit();
        if fits {
            self.note_peak(after);
        } else {
            self.release(bytes);
            // What is larger than the rest of a budget that is hardly used frees no memory.
            if self.is_nearly_exhausted() {
                self.press();
            }
        }
        fits
    }

    /// Charges `bytes` for an attempt if they fit, and attempts have no more than their share: a
    /// flood of them is refused, and ends no connection.
    pub(crate) fn try_charge_attempt(&self, bytes: u64) -> bool {
        let attempts = self.attempts.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let used = self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let fits = attempts <= self.limit() / SHARE_OF_ATTEMPTS && used <= self.limit();
        match fits {
            true => self.note_peak(used),
            false => self.release_attempt(bytes),
        }
        fits
    }

    /// Gives back what was charged for an attempt.
    pub(crate) fn release_attempt(&self, bytes: u64) {
        self.attempts.fetch_sub(bytes, Ordering::Relaxed);
        self.release(bytes);
    }

    /// Charges `bytes` that are in memory already, whether they fit or not.
    pub(crate) fn charge(&self, bytes: u64) {
        // All threads share this memory: it is not touched without need.
        if bytes > 0 {
            let after = self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
            self.note_peak(after);
            if after >= self.limit() {
                self.press();
            }
        }
    }

    /// Gives back what was charged.
    pub(crate) fn release(&self, bytes: u64) {
        if bytes > 0 {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    fn note_peak(&self, used: u64) {
        if used > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(used, Ordering::Relaxed);
        }
    }

    /// Wakes the relief.
    pub(crate) fn press(&self) {
        if !self.pressed.load(Ordering::Relaxed) && !self.pressed.swap(true, Ordering::SeqCst) {
            self.pressure.notify_one();
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

    #[test]
    fn the_peak_is_remembered_until_it_is_taken() {
        let budget = MemoryBudget::new(100);
        budget.charge(70);
        budget.release(60);
        assert_eq!(budget.take_peak(), 70);
        assert_eq!(budget.take_peak(), 10);
    }

    #[test]
    fn a_refusal_presses_only_where_others_hold_nearly_all() {
        let budget = MemoryBudget::new(80);
        assert!(!budget.try_charge(81));
        assert!(!budget.pressed.load(Ordering::Relaxed));
        assert!(budget.try_charge(70));
        assert!(!budget.try_charge(11));
        assert!(budget.pressed.load(Ordering::Relaxed));
    }
}
