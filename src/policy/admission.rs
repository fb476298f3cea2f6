//! Who may connect: numbers and rates, over the node and by network. Pure.

mod arrivals;
mod recent;

use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use super::rate::TokenBucket;
use crate::vocabulary::{Limit, OpenFailure};
use arrivals::Arrivals;
use recent::{Counts, Recent};

/// The bounds of a node; 0 is no limit. An IPv6 network (/64) counts as one address: that much is one
/// subscriber's, who could use another address for each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AdmissionLimits {
    /// Connections, and attempts that were admitted and are not open yet.
    pub max_connections: u64,
    /// The same from one address.
    pub max_connections_per_ip: u64,
    /// Opening handshakes a second.
    pub handshakes_per_second: u64,
    /// The same from one address.
    pub accept_rate_per_ip: u64,
    /// Sockets from one address whose request is not there yet.
    pub half_open_per_ip: u64,
    /// Clients whose requests are passed on as plain HTTP; they count among no others.
    pub max_http_connections: u64,
    /// Such requests a second.
    pub http_requests_per_second: u64,
}

/// Counts who is there and who came of late.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    present: u64,
    rate: Option<TokenBucket>,
    present_by_ip: Counts,
    rates_by_ip: Recent,
    arrivals: Arrivals,
}

/// Why somebody was not admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAdmitted {
    /// `refused_limit` or `refused_rate`.
    pub failure: OpenFailure,
    /// Which limit it was.
    pub limit: Limit,
}

impl Admission {
    /// Starts with nobody there.
    pub fn new(limits: AdmissionLimits, now: Instant) -> Self {
        Self {
            limits,
            present: 0,
            rate: TokenBucket::per_second(limits.handshakes_per_second, now),
            present_by_ip: Counts::default(),
            rates_by_ip: Recent::new(limits.accept_rate_per_ip, now),
            arrivals: Arrivals::default(),
        }
    }

    /// Returns how many are there.
    pub fn present(&self) -> u64 {
        self.present
    }

    /// Takes note of a socket that was accepted and whose request is to be read;
    /// [`Admission::settle`] must follow, once.
    ///
    /// # Errors
    /// There is no room to read it. Nothing is counted then.
    pub fn arrive(&mut self, ip: Option<IpAddr>) -> Result<(), NotAdmitted> {
        self.arrivals.arrive(&self.limits, self.present, ip.map(network))
    }

    /// Takes note that the request of a socket that has arrived is overdue; it counts as half-open
    /// until [`Admission::heard`].
    ///
    /// # Errors
    /// Too many of its network are. It is not counted then.
    pub fn overdue(&mut self, ip: IpAddr) -> Result<(), NotAdmitted> {
        self.arrivals.overdue(&self.limits, network(ip))
    }

    /// Takes note that an overdue request has come, or never will.
    pub fn heard(&mut self, ip: IpAddr) {
        self.arrivals.heard(network(ip));
    }

    /// Takes note that a socket that had arrived is admitted, or gone.
    pub fn settle(&mut self, ip: Option<IpAddr>) {
        self.arrivals.settle(&self.limits, ip.map(network));
    }

    /// Admits one, from an address if it has one; [`Admission::leave`] must follow, once.
    ///
    /// # Errors
    /// The limits before the rates, as the contract orders the answers. Nothing is counted then.
    pub fn admit(&mut self, now: Instant, ip: Option<IpAddr>) -> Result<(), NotAdmitted> {
        let limits = self.limits;
        let network = ip.map(network);
        within("max_connections", limits.max_connections, self.present)?;
        let counted = network.filter(|_| limits.max_connections_per_ip > 0);
        if let Some(network) = counted {
            let present = self.present_by_ip.of(network);
            within("max_connections_per_ip", limits.max_connections_per_ip, present)?;
        }
        // One's own rate first: who is too fast must not use up what is there for all.
        if network.is_some_and(|network| !self.rates_by_ip.take(network, now)) {
            return Err(too_fast("accept_rate_per_ip", limits.accept_rate_per_ip));
        }
        if self.rate.as_mut().is_some_and(|rate| !rate.take(now)) {
            return Err(too_fast("handshakes_per_second", limits.handshakes_per_second));
        }
        if let Some(network) = counted {
            self.present_by_ip.add(network);
        }
        self.present += 1;
        Ok(())
    }

    /// Counts one in that comes with another that was admitted: the connection to its application.
    /// [`Admission::leave`] must follow, once.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn accompany(&mut self) -> Result<(), NotAdmitted> {
        within("max_connections", self.limits.max_connections, self.present)?;
        self.present += 1;
        Ok(())
    }

    /// Counts one in that this end has dialled, whatever the limits say: those who ask to be let in
    /// have so much less room. [`Admission::leave`] must follow, once.
    pub fn count_in(&mut self) {
        self.present += 1;
    }

    /// Counts one out that was admitted from this address.
    pub fn leave(&mut self, ip: Option<IpAddr>) {
        self.present = self.present.saturating_sub(1);
        if let Some(ip) = ip.filter(|_| self.limits.max_connections_per_ip > 0) {
            self.present_by_ip.subtract(network(ip));
        }
    }
}

/// What counts as one address.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
    }
}

fn within(name: &'static str, limit: u64, present: u64) -> Result<(), NotAdmitted> {
    if limit == 0 || present < limit {
        return Ok(());
    }
    let limit = Limit { name, limit, observed: present + 1 };
    Err(NotAdmitted { failure: OpenFailure::RefusedLimit, limit })
}

fn too_fast(name: &'static str, limit: u64) -> NotAdmitted {
    let limit = Limit { name, limit, observed: limit.saturating_add(1) };
    NotAdmitted { failure: OpenFailure::RefusedRate, limit }
}

#[cfg(test)]
mod tests;
