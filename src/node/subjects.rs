//! Which connection of a subject stays, on routes where there may be one.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::vocabulary::{ConnectionId, Origin};

/// The connection that stays, by route and subject. Only connections that are in the registry are
/// in here, so it is no larger.
#[derive(Debug, Default)]
pub(super) struct StayingConnections {
    by_route: Mutex<HashMap<String, HashMap<String, ConnectionId>>>,
}

impl StayingConnections {
    /// Lets a connection stay; returns the one that stayed before.
    pub(super) fn replace(&self, origin: &Origin, id: ConnectionId) -> Option<ConnectionId> {
        let (route, subject) = key(origin)?;
        let mut by_route = self.by_route.lock();
        by_route.entry(route.to_owned()).or_default().insert(subject.to_owned(), id)
    }

    /// Returns the connection that stays.
    pub(super) fn get(&self, origin: &Origin) -> Option<ConnectionId> {
        let (route, subject) = key(origin)?;
        self.by_route.lock().get(route)?.get(subject).copied()
    }

    /// Forgets a connection that has ended, unless another one has replaced it.
    pub(super) fn remove(&self, origin: &Origin, id: ConnectionId) {
        let Some((route, subject)) = key(origin) else { return };
        let mut by_route = self.by_route.lock();
        let Some(of_route) = by_route.get_mut(route) else { return };
        if of_route.get(subject) == Some(&id) {
            of_route.remove(subject);
        }
        if of_route.is_empty() {
            by_route.remove(route);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_route.lock().is_empty()
    }
}

fn key(origin: &Origin) -> Option<(&str, &str)> {
    Some((origin.route.as_deref().unwrap_or_default(), origin.subject.as_deref()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Direction;

    fn of(route: &str, subject: Option<&str>) -> Origin {
        Origin {
            route: Some(route.to_owned()),
            subject: subject.map(str::to_owned),
            ..Origin::new(Direction::Inbound)
        }
    }

    #[test]
    fn one_stays_for_each_route_and_subject() {
        let staying = StayingConnections::default();
        let ids: Vec<ConnectionId> = (0..4).map(|_| ConnectionId::new()).collect();
        let (ann, bob, feed) =
            (of("chat", Some("ann")), of("chat", Some("bob")), of("feed", Some("ann")));
        assert_eq!(staying.replace(&ann, ids[0]), None);
        assert_eq!(staying.replace(&bob, ids[1]), None);
        assert_eq!(staying.replace(&feed, ids[2]), None);
        assert_eq!(staying.replace(&ann, ids[3]), Some(ids[0]));
        assert_eq!(staying.get(&ann), Some(ids[3]));
        // The one that was replaced ends later.
        staying.remove(&ann, ids[0]);
        assert_eq!(staying.get(&ann), Some(ids[3]));
        staying.remove(&ann, ids[3]);
        assert_eq!((staying.get(&ann), staying.get(&feed)), (None, Some(ids[2])));
        staying.remove(&bob, ids[1]);
        staying.remove(&feed, ids[2]);
        assert!(staying.is_empty());
    }

    #[test]
    fn a_connection_without_a_subject_replaces_none() {
        let staying = StayingConnections::default();
        assert_eq!(staying.replace(&of("chat", None), ConnectionId::new()), None);
        assert!(staying.is_empty());
    }
}
