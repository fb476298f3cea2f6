//! The revocations that a ledger holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::RecordedRevocations;
use crate::vocabulary::{Revocation, RevocationChange};

/// Revocations by number, and the highest number that was ever assigned.
#[derive(Debug, Clone, Default)]
pub(super) struct RevocationTable {
    pub(super) last: u64,
    pub(super) rows: BTreeMap<u64, Arc<Revocation>>,
}

impl RevocationTable {
    /// Applies a change that is recorded.
    pub(super) fn apply(&mut self, change: &RevocationChange) {
        match change {
            RevocationChange::Made(revocation) => {
                self.last = self.last.max(revocation.number);
                self.rows.insert(revocation.number, Arc::clone(revocation));
            }
            RevocationChange::Withdrawn { revocation, .. } => {
                self.rows.remove(&revocation.number);
            }
        }
    }

    /// Drops those that have expired.
    pub(super) fn expire(&mut self, now: SystemTime) {
        self.rows.retain(|_, revocation| revocation.is_in_force(now));
    }

    /// Returns what a supervisor reads when it starts.
    pub(super) fn recorded(self) -> RecordedRevocations {
        RecordedRevocations { last: self.last, revocations: self.rows.into_values().collect() }
    }
}
