//! The memory of one opening handshake, charged to the memory budget.

use std::sync::Arc;

use crate::connection::budget::MemoryBudget;
use crate::transport::opening_handshake::HeadRoom;
use crate::vocabulary::Limit;

/// The bytes that an attempt takes beside its head: its task, its state and its socket's.
const ATTEMPT: u64 = 4096;

/// The bytes that a TLS handshake takes: rustls' state and buffers, and what is left of them.
const TLS: u64 = 24 * 1024;

/// The memory charged for one attempt; released on drop.
pub(super) struct Room {
    budget: Arc<MemoryBudget>,
    /// What it takes beside its head.
    base: u64,
    charged: u64,
    /// A charge was refused.
    refused: bool,
}

impl Room {
    /// Charges a new attempt, before any byte of its head.
    pub(super) fn take(budget: &Arc<MemoryBudget>) -> Option<Self> {
        budget.begin_attempt(ATTEMPT).then(|| Self {
            budget: Arc::clone(budget),
            base: ATTEMPT,
            charged: ATTEMPT,
            refused: false,
        })
    }

    /// Charges a TLS handshake, and returns whether the budget allows that.
    pub(super) fn reserve_tls(&mut self) -> bool {
        self.base += TLS;
        self.grow(0)
    }

    /// Returns the limit if a charge was refused.
    pub(super) fn refusal(&self) -> Option<Limit> {
        self.refused.then(|| Self::limit_of(&self.budget))
    }

    /// Returns the limit with its current use.
    pub(super) fn limit_of(budget: &MemoryBudget) -> Limit {
        Limit { name: "memory", limit: budget.limit(), observed: budget.used() }
    }
}

impl HeadRoom for Room {
    fn grow(&mut self, bytes: usize) -> bool {
        let more = (self.base + bytes as u64).saturating_sub(self.charged);
        let fits = more == 0 || self.budget.try_charge_attempt(more);
        if fits {
            self.charged += more;
        }
        self.refused |= !fits;
        fits
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.budget.release_attempt(self.charged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_share_a_part_of_the_memory_and_give_it_back() {
        let budget = Arc::new(MemoryBudget::new(64 * 1024));
        let mut first = Room::take(&budget).unwrap();
        assert!(first.grow(8192) && first.grow(8192));
        assert_eq!(budget.used(), 4096 + 8192);
        assert!(!first.grow(16 * 1024));
        assert_eq!(first.refusal().unwrap().name, "memory");
        let second = Room::take(&budget).unwrap();
        assert!(Room::take(&budget).is_none());
        drop((first, second));
        assert_eq!(budget.used(), 0);
        assert!(Room::take(&budget).is_some());
    }

    #[test]
    fn there_is_no_room_where_connections_hold_all_memory() {
        let budget = Arc::new(MemoryBudget::new(64 * 1024));
        budget.charge(61 * 1024);
        assert!(Room::take(&budget).is_none());
        budget.release(61 * 1024);
        assert!(Room::take(&budget).is_some());
    }
}
