//! Accepted sockets whose request has not been admitted yet. Most requests arrive at once; sockets
//! that delay theirs must not keep others out.

use std::net::IpAddr;

use super::by_network::Counts;
use super::limits::{AdmissionLimits, NotAdmitted, within};

/// How many sockets beyond `max_connections` have their request read, so that it can be answered with
/// the reason of the refusal.
const BEYOND_LIMIT: u64 = 128;

/// The opening handshakes under way.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    all: u64,
    by_network: Counts,
    /// Sockets whose request is overdue.
    half_open: Counts,
}

impl Handshakes {
    pub(super) fn begin(
        &mut self,
        limits: &AdmissionLimits,
        connections: u64,
        network: Option<IpAddr>,
    ) -> Result<(), NotAdmitted> {
        if limits.max_connections > 0 && self.all >= room(limits, connections) {
            // The record names the configured limit, without the extra room.
            let count = connections.max(limits.max_connections);
            within("max_connections", limits.max_connections, count)?;
        }
        self.check_network(limits, connections, network)?;
        self.add(network);
        Ok(())
    }

    /// Counts a socket under another network. There is room for it, because it is counted already.
    pub(super) fn change_network(
        &mut self,
        limits: &AdmissionLimits,
        connections: u64,
        from: Option<IpAddr>,
        to: Option<IpAddr>,
    ) -> Result<(), NotAdmitted> {
        self.end(from);
        let checked = self.check_network(limits, connections, to);
        self.add(if checked.is_ok() { to } else { from });
        checked
    }

    fn check_network(
        &self,
        limits: &AdmissionLimits,
        connections: u64,
        network: Option<IpAddr>,
    ) -> Result<(), NotAdmitted> {
        // While there is room enough, a burst from one address is fine: it may be a proxy.
        let is_crowded = limits.max_connections > 0 && self.all >= room(limits, connections) / 2;
        let Some(network) = network.filter(|_| is_crowded) else { return Ok(()) };
        within("half_open_per_ip", limits.half_open_per_ip, self.by_network.of(&network))
    }

    /// Counts a socket, whatever the limits are: they may change while it waits.
    fn add(&mut self, network: Option<IpAddr>) {
        self.all += 1;
        if let Some(network) = network {
            self.by_network.add(network);
        }
    }

    pub(super) fn begin_half_open(
        &mut self,
        limits: &AdmissionLimits,
        network: IpAddr,
    ) -> Result<(), NotAdmitted> {
        within("half_open_per_ip", limits.half_open_per_ip, self.half_open.of(&network))?;
        self.half_open.add(network);
        Ok(())
    }

    pub(super) fn end_half_open(&mut self, network: IpAddr) {
        self.half_open.subtract(&network);
    }

    pub(super) fn end(&mut self, network: Option<IpAddr>) {
        self.all = self.all.saturating_sub(1);
        if let Some(network) = network {
            self.by_network.subtract(&network);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.all == 0 && self.by_network.is_empty() && self.half_open.is_empty()
    }
}

/// Returns how many handshakes may be under way, where `max_connections` is set.
fn room(limits: &AdmissionLimits, connections: u64) -> u64 {
    (limits.max_connections + BEYOND_LIMIT).saturating_sub(connections)
}
