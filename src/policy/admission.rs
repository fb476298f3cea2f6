//! Admission: limits on the number and rate of connections, per node and per client network. Pure.

mod by_network;
mod handshakes;

use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use super::rate::TokenBucket;
use crate::vocabulary::{Limit, OpenFailure};
use by_network::{Counts, Rates};
use handshakes::Handshakes;

/// The limits of a node; 0 means no limit. An IPv6 network (/64) counts as one address, because one
/// subscriber has all of it and could use another address for each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AdmissionLimits {
    /// Connections, including admitted attempts that are not open yet.
    pub max_connections: u64,
    /// The same, from one address.
    pub max_connections_per_ip: u64,
    /// Opening handshakes per second.
    pub handshakes_per_second: u64,
    /// The same, from one address.
    pub accept_rate_per_ip: u64,
    /// Sockets from one address whose request has not arrived yet.
    pub half_open_per_ip: u64,
    /// Clients whose requests are passed on as plain HTTP; they do not count as connections.
    pub max_http_connections: u64,
    /// Plain HTTP requests per second.
    pub http_requests_per_second: u64,
}

/// Counts connections and handshakes, and says which may be admitted.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    connections: u64,
    rate: Option<TokenBucket>,
    connections_by_ip: Counts,
    rates_by_ip: Rates,
    handshakes: Handshakes,
}

/// Why a connection was not admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAdmitted {
    /// `refused_limit` or `refused_rate`.
    pub failure: OpenFailure,
    /// Which limit it was.
    pub limit: Limit,
}

impl Admission {
    /// Starts without connections.
    pub fn new(limits: AdmissionLimits, now: Instant) -> Self {
        Self {
            limits,
            connections: 0,
            rate: TokenBucket::per_second(limits.handshakes_per_second, now),
            connections_by_ip: Counts::default(),
            rates_by_ip: Rates::new(limits.accept_rate_per_ip, now),
            handshakes: Handshakes::default(),
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
        self.handshakes.begin(&self.limits, self.connections, ip.map(network))
    }

    /// Counts a socket whose request is overdue as half-open, until [`Admission::end_half_open`].
    ///
    /// # Errors
    /// Its network has too many half-open sockets. Nothing is counted.
    pub fn begin_half_open(&mut self, ip: IpAddr) -> Result<(), NotAdmitted> {
        self.handshakes.begin_half_open(&self.limits, network(ip))
    }

    /// Ends the half-open count of a socket: its request has arrived, or the socket is gone.
    pub fn end_half_open(&mut self, ip: IpAddr) {
        self.handshakes.end_half_open(network(ip));
    }

    /// Ends the handshake count of a socket: it was admitted or refused, or is gone.
    pub fn end_handshake(&mut self, ip: Option<IpAddr>) {
        self.handshakes.end(&self.limits, ip.map(network));
    }

    /// Admits a connection. [`Admission::release`] must be called once for each.
    ///
    /// # Errors
    /// Limits are checked before rates, in the order of the contract. Nothing is counted.
    pub fn admit(&mut self, now: Instant, ip: Option<IpAddr>) -> Result<(), NotAdmitted> {
        let limits = self.limits;
        let network = ip.map(network);
        within("max_connections", limits.max_connections, self.connections)?;
        let counted = network.filter(|_| limits.max_connections_per_ip > 0);
        if let Some(network) = counted {
            let count = self.connections_by_ip.of(network);
            within("max_connections_per_ip", limits.max_connections_per_ip, count)?;
        }
        // The network's own rate first, so that one that is too fast does not use up the node's.
        if network.is_some_and(|network| !self.rates_by_ip.take(network, now)) {
            return Err(too_fast("accept_rate_per_ip", limits.accept_rate_per_ip));
        }
        if self.rate.as_mut().is_some_and(|rate| !rate.take(now)) {
            return Err(too_fast("handshakes_per_second", limits.handshakes_per_second));
        }
        if let Some(network) = counted {
            self.connections_by_ip.add(network);
        }
        self.connections += 1;
        Ok(())
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
        if let Some(ip) = ip.filter(|_| self.limits.max_connections_per_ip > 0) {
            self.connections_by_ip.subtract(network(ip));
        }
    }
}

/// Returns what counts as one address: an IPv4 address, or an IPv6 /64.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
    }
}

fn within(name: &'static str, limit: u64, count: u64) -> Result<(), NotAdmitted> {
    if limit == 0 || count < limit {
        return Ok(());
    }
    let limit = Limit { name, limit, observed: count + 1 };
    Err(NotAdmitted { failure: OpenFailure::RefusedLimit, limit })
}

fn too_fast(name: &'static str, limit: u64) -> NotAdmitted {
    let limit = Limit { name, limit, observed: limit.saturating_add(1) };
    NotAdmitted { failure: OpenFailure::RefusedRate, limit }
}

#[cfg(test)]
mod tests;
