//! Who may connect: numbers and rates, over the node and by address. Pure.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use super::rate::TokenBucket;
use crate::vocabulary::{Limit, OpenFailure};

/// How many addresses are remembered before those of no further interest are forgotten.
const REMEMBERED: usize = 16_384;

/// The bounds of a node; 0 is no limit.
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
}

/// Counts who is there and who came of late.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    present: u64,
    rate: Option<TokenBucket>,
    by_ip: HashMap<IpAddr, Address>,
}

#[derive(Debug)]
struct Address {
    present: u64,
    rate: Option<TokenBucket>,
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
        let rate = TokenBucket::per_second(limits.handshakes_per_second, now);
        Self { limits, present: 0, rate, by_ip: HashMap::new() }
    }

    /// Returns how many are there.
    pub fn present(&self) -> u64 {
        self.present
    }

    /// Admits one, from an address if it has one; [`Admission::leave`] must follow, once.
    ///
    /// # Errors
    /// The limits before the rates, as the contract orders the answers. Nothing is counted then.
    pub fn admit(&mut self, now: Instant, ip: Option<IpAddr>) -> Result<(), NotAdmitted> {
        let limits = self.limits;
        within("max_connections", limits.max_connections, self.present)?;
        let by_ip = limits.max_connections_per_ip > 0 || limits.accept_rate_per_ip > 0;
        let address = match ip {
            Some(ip) if by_ip => Some(self.address(now, ip)),
            Some(_) | None => None,
        };
        if let Some(address) = &address {
            within("max_connections_per_ip", limits.max_connections_per_ip, address.present)?;
        }
        if self.rate.as_mut().is_some_and(|rate| !rate.take(now)) {
            return Err(too_fast("handshakes_per_second", limits.handshakes_per_second));
        }
        if let Some(ip) = ip
            && let Some(address) = self.by_ip.get_mut(&ip)
        {
            if address.rate.as_mut().is_some_and(|rate| !rate.take(now)) {
                return Err(too_fast("accept_rate_per_ip", limits.accept_rate_per_ip));
            }
            address.present += 1;
        }
        self.present += 1;
        Ok(())
    }

    /// Counts one in that comes with another; [`Admission::leave`] must follow, once.
    pub fn accompany(&mut self) {
        self.present += 1;
    }

    /// Counts one out that was admitted from this address.
    pub fn leave(&mut self, ip: Option<IpAddr>) {
        self.present = self.present.saturating_sub(1);
        if let Some(ip) = ip
            && let Some(address) = self.by_ip.get_mut(&ip)
        {
            address.present = address.present.saturating_sub(1);
            if address.present == 0 && address.rate.is_none() {
                self.by_ip.remove(&ip);
            }
        }
    }

    fn address(&mut self, now: Instant, ip: IpAddr) -> &Address {
        if self.by_ip.len() >= REMEMBERED && !self.by_ip.contains_key(&ip) {
            self.by_ip.retain(|_, address| {
                address.present > 0 || address.rate.as_ref().is_some_and(|rate| !rate.is_full(now))
            });
        }
        let per_second = self.limits.accept_rate_per_ip;
        self.by_ip.entry(ip).or_insert_with(|| Address {
            present: 0,
            rate: TokenBucket::per_second(per_second, now),
        })
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
mod tests {
    use std::time::Duration;

    use super::*;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
    const THERE: Option<IpAddr> = Some(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST));

    fn refusal(result: Result<(), NotAdmitted>) -> &'static str {
        result.unwrap_err().limit.name
    }

    #[test]
    fn numbers_are_counted_over_the_node_and_by_address() {
        let now = Instant::now();
        let limits =
            AdmissionLimits { max_connections: 3, max_connections_per_ip: 2, ..Default::default() };
        let mut admission = Admission::new(limits, now);
        admission.admit(now, HERE).unwrap();
        admission.admit(now, HERE).unwrap();
        assert_eq!(refusal(admission.admit(now, HERE)), "max_connections_per_ip");
        admission.admit(now, THERE).unwrap();
        assert_eq!(refusal(admission.admit(now, THERE)), "max_connections");
        admission.leave(HERE);
        admission.admit(now, HERE).unwrap();
        for ip in [HERE, HERE, THERE] {
            admission.leave(ip);
        }
        assert_eq!((admission.present(), admission.by_ip.len()), (0, 0));
    }

    #[test]
    fn rates_come_back_with_time() {
        let now = Instant::now();
        let limits = AdmissionLimits {
            handshakes_per_second: 2,
            accept_rate_per_ip: 1,
            ..Default::default()
        };
        let mut admission = Admission::new(limits, now);
        admission.admit(now, HERE).unwrap();
        assert_eq!(refusal(admission.admit(now, HERE)), "accept_rate_per_ip");
        assert_eq!(refusal(admission.admit(now, THERE)), "handshakes_per_second");
        admission.admit(now + Duration::from_secs(1), HERE).unwrap();
    }

    #[test]
    fn a_flood_of_addresses_is_forgotten_again() {
        let limits = AdmissionLimits { accept_rate_per_ip: 1, ..Default::default() };
        let mut now = Instant::now();
        let mut admission = Admission::new(limits, now);
        for n in 0..3 * REMEMBERED as u32 {
            now += Duration::from_millis(1);
            let ip = Some(IpAddr::V4(n.into()));
            admission.admit(now, ip).unwrap();
            admission.leave(ip);
        }
        assert!(admission.by_ip.len() <= REMEMBERED);
    }

    #[test]
    fn without_limits_everybody_is_admitted() {
        let now = Instant::now();
        let mut admission = Admission::new(AdmissionLimits::default(), now);
        for _ in 0..10_000 {
            admission.admit(now, HERE).unwrap();
        }
    }
}
