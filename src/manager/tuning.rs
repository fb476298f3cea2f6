//! Limits and settings that can be changed while the supervisor runs.

use std::time::Duration;

use super::Supervisor;
use crate::policy::admission::AdmissionLimits;
use crate::settings::Records;

impl Supervisor {
    /// Changes the limits on clients, as [`Builder::admission`] sets them. What is open stays and
    /// counts, even where it exceeds them.
    ///
    /// [`Builder::admission`]: crate::Builder::admission
    pub fn set_admission(&self, limits: AdmissionLimits) {
        self.inner.node.change_settings(|settings| settings.limits = limits);
    }

    /// Changes the bytes that queues, partly received messages and opening handshakes may use
    /// together. Where more is used already, the connections that hold most are closed.
    pub fn set_memory(&self, bytes: u64) {
        self.inner.budget.set_limit(bytes);
    }

    /// Changes the time limit of opening handshakes on listeners, for those that begin from now on.
    pub fn set_handshake_timeout(&self, timeout: Duration) {
        self.inner.node.change_settings(|settings| settings.handshake_timeout = timeout);
    }

    /// Changes what is recorded from now on of requests that match no route, and of dials.
    pub fn set_records(&self, records: Records) {
        self.inner.node.change_settings(|settings| settings.records = records);
    }

    /// Changes how many dials per second all dialers may begin together; 0 is no limit.
    pub fn set_dials_per_second(&self, dials: u64) {
        self.dialers.set_rate(dials);
    }

    /// Changes how many revocations may be in force; those beyond stay until they expire.
    pub fn set_max_revocations(&self, revocations: usize) {
        self.inner.node.revocations.set_limit(revocations);
    }
}
