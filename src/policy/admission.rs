//! Admission: limits on the number and rate of connections, per node and per client network. Pure.

mod by_network;
mod handshakes;
mod limits;
mod of_route;

use std::net::IpAddr;
use std::time::Instant;

use super::rate::TokenBucket;
use crate::vocabulary::network_of;
pub use limits::{AdmissionLimits, NotAdmitted, RouteCapacity};
pub use of_route::RouteAdmission;

use by_network::{Counts, Rates};
use handshakes::Handshakes;
use limits::{too_fast, within};

/// Counts connections and handshakes, and says which may be admitted.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    connections: u64,
    rate: Option<TokenBucket>,
    /// What each network may take of the reserve of `rate`.
    shares_by_ip: Rates,
    connections_by_ip: Counts,
    rates_by_ip: Rates,
    handshakes: Handshakes,
}

impl Admission {
    /// Starts without connections.
    pub fn new(limits: AdmissionLimits, now: Instant) -> Self {
        Self {
            limits,
            connections: 0,
            rate: TokenBucket::per_second(limits.handshakes_per_second, now),
            shares_by_ip: Rates::new(reserve(&limits), now),
            connections_by_ip: Counts::default(),
            rates_by_ip: Rates::new(limits.accept_rate_per_ip, now),
            handshakes: Handshakes::default(),
        }
    }

    /// Applies other limits from now on. What was admitted stays, even if it exceeds them; a rate that
    /// has changed begins anew.
    pub fn set_limits(&mut self, limits: AdmissionLimits, now: Instant) {
        let before = std::mem::replace(&mut self.limits, limits);
        if before.handshakes_per_second != limits.handshakes_per_second {
            self.rate = TokenBucket::per_second(limits.handshakes_per_second, now);
            self.shares_by_ip = Rates::new(reserve(&limits), now);
        }
        if before.accept_rate_per_ip != limits.accept_rate_per_ip {
            self.rates_by_ip = Rates::new(limits.accept_rate_per_ip, now);
        }
    }

    /// Returns the number of connections, including admitted attempts.
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// Counts an accepted socket whose request is to be read. [`Admission::end_handshake`] must be
    /// called once for each.
    ///
    /// # Errors
    /// Too many handshakes are under way. Nothing is counted.
    pub fn begin_handshake(&mut self, ip: Option<IpAddr>) -> Result<(), NotAdmitted> {
        self.handshakes.begin(&self.limits, self.connections, ip.map(network_of))
    }

    /// Counts a socket under the address of the client that its proxy has named.
    ///
    /// # Errors
    /// The client's network has too many handshakes under way. It stays counted as before.
    pub fn move_handshake(
        &mut self,
        from: Option<IpAddr>,
        to: Option<IpAddr>,
    ) -> Result<(), NotAdmitted> {
        let (from, to) = (from.map(network_of), to.map(network_of));
        self.handshakes.change_network(&self.limits, self.connections, from, to)
    }

    /// Counts a socket whose request is overdue as half-open, until [`Admission::end_half_open`].
    ///
    /// # Errors
    /// Its network has too many half-open sockets. Nothing is counted.
    pub fn begin_half_open(&mut self, ip: IpAddr) -> Result<(), NotAdmitted> {
        self.handshakes.begin_half_open(&self.limits, network_of(ip))
    }

    /// Ends the half-open count of a socket: its request has arrived, or the socket is gone.
    pub fn end_half_open(&mut self, ip: IpAddr) {
        self.handshakes.end_half_open(network_of(ip));
    }

    /// Ends the handshake count of a socket: it was admitted or refused, or is gone.
    pub fn end_handshake(&mut self, ip: Option<IpAddr>) {
        self.handshakes.end(ip.map(network_of));
    }

    /// Admits a connection. [`Admission::release`] must be called once for each.
    ///
    /// # Errors
    /// Limits are checked before rates, in the order of the contract. Nothing is counted.
    pub fn admit(&mut self, now: Instant, ip: Option<IpAddr>) -> Result<(), NotAdmitted> {
        let limits = self.limits;
        let network = ip.map(network_of);
        within("max_connections", limits.max_connections, self.connections)?;
        if let Some(network) = network {
            let count = self.connections_by_ip.of(&network);
            within("max_connections_per_ip", limits.max_connections_per_ip, count)?;
        }
        // The network's own rate first, so that one that is too fast does not use up the node's.
        if network.is_some_and(|network| !self.rates_by_ip.take(network, now)) {
            return Err(too_fast("accept_rate_per_ip", limits.accept_rate_per_ip));
        }
        if !self.take_from_rate(network, now) {
            return Err(too_fast("handshakes_per_second", limits.handshakes_per_second));
        }
        // Without a limit, too: one that is set later holds for all that are open.
        if let Some(network) = network {
            self.connections_by_ip.add(network);
        }
        self.connections += 1;
        Ok(())
    }

    /// Takes a token of the node's rate. One that takes more than its share leaves the reserve to the
    /// others, so that a flood from one network is what waits for new tokens.
    fn take_from_rate(&mut self, network: Option<IpAddr>, now: Instant) -> bool {
        let Some(rate) = &mut self.rate else { return true };
        let has_share = network.is_none_or(|network| self.shares_by_ip.take(network, now));
        let reserve = if has_share { 0 } else { reserve(&self.limits) };
        rate.available(now) > reserve && rate.take(now)
    }

    /// Admits the connection to the application of a client that was admitted: only
    /// `max_connections` applies. [`Admission::release`] must be called once for each.
    ///
    /// # Errors
    /// `max_connections` is reached.
    pub fn admit_upstream(&mut self) -> Result<(), NotAdmitted> {
        within("max_connections", self.limits.max_connections, self.connections)?;
        self.connections += 1;
        Ok(())
    }

    /// Counts a connection that this end dialled. It is never refused, but leaves less room for
    /// clients. [`Admission::release`] must be called once for each.
    pub fn count_dialled(&mut self) {
        self.connections += 1;
    }

    /// Releases a connection that was admitted from this address.
    pub fn release(&mut self, ip: Option<IpAddr>) {
        self.connections = self.connections.saturating_sub(1);
        if let Some(ip) = ip {
            self.connections_by_ip.subtract(&network_of(ip));
        }
    }
}

/// Returns how many tokens of `handshakes_per_second` are kept for networks that take few: an eighth.
fn reserve(limits: &AdmissionLimits) -> u64 {
    limits.handshakes_per_second / 8
}

#[cfg(test)]
mod tests;
