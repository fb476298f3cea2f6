//! Admission to a route, beside that to the node.

use std::net::IpAddr;

use super::by_network::Counts;
use super::limits::{NotAdmitted, RouteCapacity, within};
use crate::vocabulary::network_of;

/// Counts the connections of a route, and says which may be admitted.
#[derive(Debug, Default)]
pub struct RouteAdmission {
    capacity: RouteCapacity,
    connections: u64,
    by_ip: Counts,
    by_subject: Counts<String>,
}

impl RouteAdmission {
    /// Starts without connections.
    pub fn new(capacity: RouteCapacity) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// Returns the capacity.
    pub fn capacity(&self) -> RouteCapacity {
        self.capacity
    }

    /// Applies another capacity from now on. What was admitted stays.
    pub fn set_capacity(&mut self, capacity: RouteCapacity) {
        self.capacity = capacity;
    }

    /// Admits a connection. [`RouteAdmission::release`] must be called once for each.
    ///
    /// # Errors
    /// The route, or the network of the client, has too many. Nothing is counted.
    pub fn admit(&mut self, ip: Option<IpAddr>) -> Result<(), NotAdmitted> {
        let RouteCapacity { max_connections, max_connections_per_ip, .. } = self.capacity;
        within("routes.limits.max_connections", max_connections, self.connections)?;
        if let Some(network) = ip.map(network_of) {
            let name = "routes.limits.max_connections_per_ip";
            within(name, max_connections_per_ip, self.by_ip.of(&network))?;
            self.by_ip.add(network);
        }
        self.connections += 1;
        Ok(())
    }

    /// Returns whether connections are counted for their subjects.
    pub fn counts_subjects(&self) -> bool {
        self.capacity.max_connections_per_subject > 0
    }

    /// Counts a connection that was admitted for its subject, too.
    ///
    /// # Errors
    /// The subject has too many. It is not counted for the subject.
    pub fn admit_subject(&mut self, subject: &str) -> Result<(), NotAdmitted> {
        let name = "routes.limits.max_connections_per_subject";
        let limit = self.capacity.max_connections_per_subject;
        within(name, limit, self.by_subject.of(subject))?;
        self.by_subject.add(subject.to_owned());
        Ok(())
    }

    /// Releases a connection that was admitted from this address, and counted for this subject.
    pub fn release(&mut self, ip: Option<IpAddr>, subject: Option<&str>) {
        self.connections = self.connections.saturating_sub(1);
        if let Some(network) = ip.map(network_of) {
            self.by_ip.subtract(&network);
        }
        if let Some(subject) = subject {
            self.by_subject.subtract(subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit_of(refused: Result<(), NotAdmitted>) -> (&'static str, u64) {
        let limit = refused.unwrap_err().limit;
        (limit.name, limit.limit)
    }

    #[test]
    fn each_limit_holds_and_gives_its_room_back() {
        let mut route = RouteAdmission::new(RouteCapacity {
            max_connections: 3,
            max_connections_per_ip: 2,
            max_connections_per_subject: 1,
        });
        let [a, b]: [Option<IpAddr>; 2] =
            ["192.0.2.1", "192.0.2.2"].map(|ip| Some(ip.parse().unwrap()));
        route.admit(a).unwrap();
        route.admit(a).unwrap();
        assert_eq!(limit_of(route.admit(a)), ("routes.limits.max_connections_per_ip", 2));
        route.admit(b).unwrap();
        assert_eq!(limit_of(route.admit(b)), ("routes.limits.max_connections", 3));
        route.admit_subject("ann").unwrap();
        let name = "routes.limits.max_connections_per_subject";
        assert_eq!(limit_of(route.admit_subject("ann")), (name, 1));
        route.admit_subject("bob").unwrap();
        route.release(a, Some("ann"));
        route.admit(a).unwrap();
        route.admit_subject("ann").unwrap();
        for (ip, subject) in [(a, Some("ann")), (a, None), (b, Some("bob"))] {
            route.release(ip, subject);
        }
        assert_eq!((route.connections, route.by_ip.is_empty()), (0, true));
        assert!(route.by_subject.is_empty());
    }

    #[test]
    fn without_limits_nothing_is_refused() {
        let mut route = RouteAdmission::default();
        for _ in 0..10 {
            route.admit(Some(IpAddr::from([192, 0, 2, 1]))).unwrap();
            route.admit_subject("ann").unwrap();
        }
    }
}
