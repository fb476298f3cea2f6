//! Limits how many attempts are stored, and counts the rest.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::vocabulary::Ending;

/// The number of networks counted separately per minute; the rest are counted as "other".
const NETWORKS_PER_MINUTE: usize = 1000;

/// The number of rows that may wait for a failing disk; beyond it only the total is kept.
const MOST_PENDING: usize = 10_000;

/// The key by which attempts are counted when they are not stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Group {
    /// Minutes since 1970.
    pub(super) minute: u64,
    pub(super) listener: String,
    pub(super) failure: &'static str,
    pub(super) network: String,
    pub(super) fault: &'static str,
}

/// Chooses which attempts are stored, and counts the others.
pub(super) struct Attempts {
    per_second: u64,
    began: Instant,
    /// The second that `stored` counts.
    second: u64,
    stored: HashMap<Option<String>, u64>,
    /// The minute that `known` belongs to.
    minute: u64,
    known: HashSet<Group>,
    pending: HashMap<Group, u64>,
}

impl Attempts {
    pub(super) fn new(per_second: u64) -> Self {
        Self {
            per_second,
            began: Instant::now(),
            second: 0,
            stored: HashMap::new(),
            minute: 0,
            known: HashSet::new(),
            pending: HashMap::new(),
        }
    }

    /// Returns whether to store an attempt that came at `at`; if not, it has been counted.
    pub(super) fn admit(&mut self, attempt: &Ending, at: Instant) -> bool {
        let second = at.saturating_duration_since(self.began).as_secs();
        if second != self.second {
            self.second = second;
            self.stored.clear();
        }
        let listener = &attempt.origin.listener;
        let stored = match self.stored.get_mut(listener) {
            Some(stored) => stored,
            None => self.stored.entry(listener.clone()).or_default(),
        };
        *stored += 1;
        if *stored <= self.per_second {
            return true;
        }
        self.count(attempt);
        false
    }

    fn count(&mut self, attempt: &Ending) {
        let failure = attempt.outcome.kind.open_failure();
        let mut group = Group {
            minute: minute_of(attempt.ended_at),
            listener: attempt.origin.listener.clone().unwrap_or_default(),
            failure: failure.map_or("", |failure| failure.as_str()),
            network: network_of(attempt.origin.peer.as_deref()),
            fault: attempt.outcome.fault.as_str(),
        };
        if group.minute != self.minute {
            self.minute = group.minute;
            self.known.clear();
        }
        if !self.known.contains(&group) {
            if self.known.len() < NETWORKS_PER_MINUTE {
                self.known.insert(group.clone());
            } else {
                "other".clone_into(&mut group.network);
            }
        }
        if self.pending.len() < MOST_PENDING || self.pending.contains_key(&group) {
            *self.pending.entry(group).or_default() += 1;
        }
    }

    /// Takes the counts that are not stored yet.
    pub(super) fn take_counts(&mut self) -> Vec<(Group, u64)> {
        self.pending.drain().collect()
    }

    /// Puts back counts that could not be stored.
    pub(super) fn put_back(&mut self, counts: Vec<(Group, u64)>) {
        for (group, count) in counts {
            *self.pending.entry(group).or_default() += count;
        }
    }
}

fn minute_of(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 60)
}

/// Returns the network of a peer: a /24 for IPv4, a /48 for IPv6.
fn network_of(peer: Option<&str>) -> String {
    let Some(peer) = peer else { return "unknown".to_owned() };
    let address = peer.parse::<SocketAddr>().map(|address| address.ip());
    let bare = peer.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(peer);
    match address.or_else(|_| bare.parse::<IpAddr>()).map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => {
            let [a, b, c, _] = ip.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        Ok(IpAddr::V6(ip)) => {
            let [a, b, c, ..] = ip.segments();
            format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
        Err(_) => "local".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_have_networks() {
        for (peer, network) in [
            (Some("203.0.113.9:51342"), "203.0.113.0/24"),
            (Some("[2001:db8:7:8::1]:5"), "2001:db8:7::/48"),
            (Some("[::ffff:203.0.113.9]:5"), "203.0.113.0/24"),
            (Some("203.0.113.9"), "203.0.113.0/24"),
            (Some("[2001:db8:7:8::1]"), "2001:db8:7::/48"),
            (Some("unix:/run/x.sock"), "local"),
            (None, "unknown"),
        ] {
            assert_eq!(network_of(peer), network);
        }
    }
}
