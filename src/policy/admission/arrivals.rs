//! Sockets that were accepted and have no place yet: most send their request at once, and those that
//! do not must not keep others out.

use std::net::IpAddr;

use super::recent::Counts;
use super::{AdmissionLimits, NotAdmitted, within};

/// Sockets beyond `max_connections` whose request is read: so many more can be told why they are
/// refused.
const BEYOND: u64 = 128;

/// Sockets that have no place yet.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    all: u64,
    by_network: Counts,
    /// Those whose request is overdue.
    half_open: Counts,
}

impl Arrivals {
    pub(super) fn arrive(
        &mut self,
        limits: &AdmissionLimits,
        present: u64,
        network: Option<IpAddr>,
    ) -> Result<(), NotAdmitted> {
        if limits.max_connections > 0 {
            let room = (limits.max_connections + BEYOND).saturating_sub(present);
            if self.all >= room {
                // The record says which limit it was, not how many more were heard.
                let present = present.max(limits.max_connections);
                within("max_connections", limits.max_connections, present)?;
            }
            // While there is room enough, a burst from one address is welcome: it may be a proxy.
            let is_crowded = self.all >= room / 2;
            if let Some(network) = network.filter(|_| is_crowded) {
                let waiting = self.by_network.of(network);
                within("half_open_per_ip", limits.half_open_per_ip, waiting)?;
            }
        }
        self.all += 1;
        if let Some(network) = counted(limits, network) {
            self.by_network.add(network);
        }
        Ok(())
    }

    pub(super) fn overdue(
        &mut self,
        limits: &AdmissionLimits,
        network: IpAddr,
    ) -> Result<(), NotAdmitted> {
        within("half_open_per_ip", limits.half_open_per_ip, self.half_open.of(network))?;
        self.half_open.add(network);
        Ok(())
    }

    pub(super) fn heard(&mut self, network: IpAddr) {
        self.half_open.subtract(network);
    }

    pub(super) fn settle(&mut self, limits: &AdmissionLimits, network: Option<IpAddr>) {
        self.all = self.all.saturating_sub(1);
        if let Some(network) = counted(limits, network) {
            self.by_network.subtract(network);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.all == 0 && self.by_network.is_empty() && self.half_open.is_empty()
    }
}

/// Nobody is counted by network where no limit asks for it.
fn counted(limits: &AdmissionLimits, network: Option<IpAddr>) -> Option<IpAddr> {
    network.filter(|_| limits.half_open_per_ip > 0 && limits.max_connections > 0)
}
