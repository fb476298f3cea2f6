//! Which connection of a subject stays, on routes where there may be one.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::settings::Replace;
use crate::vocabulary::{ConnectionId, Origin};

/// What becomes of two connections of one subject.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Replacing {
    pub(crate) rule: Replace,
    /// Its turn to be opened. Of two connections the one with the later turn is the newcomer, whichever
    /// the supervisor takes over first.
    pub(crate) turn: u64,
}

/// A connection that stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Staying {
    pub(super) id: ConnectionId,
    pub(super) turn: u64,
}

/// The connection that stays, by route and subject. Only connections that are in the registry are
/// in here, so it is no larger.
#[derive(Debug, Default)]
pub(super) struct StayingConnections {
    by_route: Mutex<HashMap<String, HashMap<String, Staying>>>,
}

impl StayingConnections {
    /// Lets a connection stay, in place of the one that stayed before.
    pub(super) fn set(&self, origin: &Origin, staying: Staying) {
        let Some((route, subject)) = key(origin) else { return };
        let mut by_route = self.by_route.lock();
        by_route.entry(route.to_owned()).or_default().insert(subject.to_owned(), staying);
    }

    /// Returns the connection that stays.
    pub(super) fn get(&self, origin: &Origin) -> Option<Staying> {
        let (route, subject) = key(origin)?;
        self.by_route.lock().get(route)?.get(subject).copied()
    }

    /// Forgets a connection that has ended, unless another one has replaced it.
    pub(super) fn remove(&self, origin: &Origin, id: ConnectionId) {
        let Some((route, subject)) = key(origin) else { return };
        let mut by_route = self.by_route.lock();
        let Some(of_route) = by_route.get_mut(route) else { return };
        if of_route.get(subject).is_some_and(|staying| staying.id == id) {
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
        let of_turn = |turn| Staying { id: ConnectionId::new(), turn };
        let [first, second, third, fourth] = [0, 1, 2, 3].map(of_turn);
        let (ann, bob, feed) =
            (of("chat", Some("ann")), of("chat", Some("bob")), of("feed", Some("ann")));
        staying.set(&ann, first);
        staying.set(&bob, second);
        staying.set(&feed, third);
        assert_eq!(staying.get(&ann), Some(first));
        staying.set(&ann, fourth);
        assert_eq!(staying.get(&ann), Some(fourth));
        // The one that was replaced ends later.
        staying.remove(&ann, first.id);
        assert_eq!(staying.get(&ann), Some(fourth));
        staying.remove(&ann, fourth.id);
        assert_eq!((staying.get(&ann), staying.get(&feed)), (None, Some(third)));
        staying.remove(&bob, second.id);
        staying.remove(&feed, third.id);
        assert!(staying.is_empty());
    }

    #[test]
    fn a_connection_without_a_subject_replaces_none() {
        let staying = StayingConnections::default();
        let nobody = of("chat", None);
        staying.set(&nobody, Staying { id: ConnectionId::new(), turn: 0 });
        assert_eq!(staying.get(&nobody), None);
        assert!(staying.is_empty());
    }
}
