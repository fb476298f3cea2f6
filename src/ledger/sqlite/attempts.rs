//! Limits how many attempts are stored, and counts the rest.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::vocabulary::{Ending, Network, ip_of};

/// The number of networks counted separately per minute; the rest are counted as "other".
const NETWORKS_PER_MINUTE: usize = 1000;

/// The number of rows that may wait for a failing disk; beyond it only the total is kept.
const MOST_PENDING: usize = 10_000;

/// How long a network's attempt keeps half of its listener's rate from each other network.
const COMPANY: Duration = Duration::from_secs(600);

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
    /// The second that `listeners` count.
    second: u64,
    listeners: HashMap<Option<String>, Listener>,
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
            listeners: HashMap::new(),
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
            self.listeners.retain(|_, listener| listener.is_recent(at));
            self.listeners.values_mut().for_each(Listener::begin_second);
        }
        let name = &attempt.origin.listener;
        let listener = match self.listeners.get_mut(name) {
            Some(listener) => listener,
            None => self.listeners.entry(name.clone()).or_default(),
        };
        if listener.admit(Network::of(&attempt.origin), at, self.per_second) {
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
            network: counted_network(attempt.origin.peer.as_deref()),
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

/// The attempts at one listener.
#[derive(Default)]
struct Listener {
    /// The number stored in this second.
    stored: u64,
    /// Likewise, of each network that has any.
    by_network: HashMap<Network, u64>,
    /// The network of the latest attempt, and when it came.
    latest: Option<(Network, Instant)>,
    /// When the latest attempt of another network than that came.
    other: Option<Instant>,
}

impl Listener {
    fn begin_second(&mut self) {
        self.stored = 0;
        self.by_network.clear();
    }

    fn is_recent(&self, at: Instant) -> bool {
        self.latest.is_some_and(|(_, latest)| at.saturating_duration_since(latest) < COMPANY)
    }

    /// Returns whether to store an attempt: of at most `most` in a second one network may have half,
    /// unless it is the only one that comes.
    fn admit(&mut self, network: Network, at: Instant, most: u64) -> bool {
        if let Some((latest, came)) = self.latest.replace((network, at))
            && latest != network
        {
            self.other = Some(came);
        }
        let is_alone =
            self.other.is_none_or(|other| at.saturating_duration_since(other) >= COMPANY);
        let share = if is_alone { most } else { most.div_ceil(2) };
        let of_network = self.by_network.get(&network).copied().unwrap_or(0);
        if self.stored >= most || of_network >= share {
            return false;
        }
        self.stored += 1;
        self.by_network.insert(network, of_network + 1);
        true
    }
}

fn minute_of(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 60)
}

/// Returns the network by which a peer's attempts are counted: a /24 for IPv4, a /48 for IPv6.
fn counted_network(peer: Option<&str>) -> String {
    let Some(peer) = peer else { return "unknown".to_owned() };
    match ip_of(peer) {
        Some(IpAddr::V4(ip)) => {
            let [a, b, c, _] = ip.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        Some(IpAddr::V6(ip)) => {
            let [a, b, c, ..] = ip.segments();
            format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
        None => "local".to_owned(),
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
            assert_eq!(counted_network(peer), network);
        }
    }

    /// Returns how many of `count` attempts are stored.
    fn stored(listener: &mut Listener, ip: [u8; 4], count: u64, at: Instant, most: u64) -> u64 {
        let network = Network::Ip(ip.into());
        (0..count).map(|_| u64::from(listener.admit(network, at, most))).sum()
    }

    #[test]
    fn a_network_takes_at_most_half_while_others_come() {
        let (flood, other) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let began = Instant::now();
        let mut listener = Listener::default();
        assert_eq!(stored(&mut listener, flood, 100, began, 9), 9, "all while it is alone");
        assert_eq!(stored(&mut listener, other, 1, began, 9), 0);
        let later = began + Duration::from_secs(5);
        listener.begin_second();
        assert_eq!(stored(&mut listener, flood, 100, later, 9), 5);
        assert_eq!(stored(&mut listener, other, 100, later, 9), 4);
        listener.begin_second();
        let much_later = later + COMPANY;
        assert_eq!(stored(&mut listener, flood, 1, much_later, 9), 1);
        assert_eq!(stored(&mut listener, flood, 100, much_later, 9), 8, "it is alone again");
    }

    #[test]
    fn the_smallest_rates_store_what_they_say() {
        for most in [0, 1] {
            let mut listener = Listener::default();
            let at = Instant::now();
            stored(&mut listener, [10, 0, 0, 2], 1, at, most);
            listener.begin_second();
            assert_eq!(stored(&mut listener, [10, 0, 0, 1], 5, at, most), most);
        }
    }
}
