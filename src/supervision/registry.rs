//! All open connections, and the books that must balance.

use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;

use super::connection::Connection;
use super::node::Place;
use crate::vocabulary::ConnectionId;

/// The open connections, by id.
#[derive(Default)]
pub(super) struct Registry {
    connections: DashMap<ConnectionId, Entry>,
    books: Mutex<Books>,
}

/// A connection that is open, or whose ending is not recorded yet.
struct Entry {
    connection: Arc<Connection>,
    /// Its place among those that are counted.
    place: Option<Place>,
}

#[derive(Debug, Default)]
struct Books {
    opened: u64,
    ended: u64,
}

/// The accounting identity: at every instant, opened = open + ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accounting {
    /// Connections that ever opened.
    pub opened: u64,
    /// Connections that are in the registry now.
    pub open: u64,
    /// Endings that were published; failed attempts are none of them.
    pub ended: u64,
}

impl Accounting {
    /// Tells whether the books balance.
    pub fn balances(&self) -> bool {
        self.opened == self.open + self.ended
    }
}

impl Registry {
    pub(super) fn insert(&self, connection: Arc<Connection>, place: Option<Place>) {
        // The books and the map change together, so that nobody ever sees one without the other.
        let mut books = self.lock();
        books.opened += 1;
        self.connections.insert(connection.id, Entry { connection, place });
    }

    /// Removes a connection; `None` if that was done before.
    pub(super) fn remove(&self, id: ConnectionId) -> Option<(Arc<Connection>, Option<Place>)> {
        let mut books = self.lock();
        let (_, Entry { connection, place }) = self.connections.remove(&id)?;
        books.ended += 1;
        Some((connection, place))
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<Arc<Connection>> {
        self.connections.get(&id).map(|entry| Arc::clone(&entry.connection))
    }

    /// Returns all connections that are open now.
    pub(super) fn all(&self) -> Vec<Arc<Connection>> {
        self.connections.iter().map(|entry| Arc::clone(&entry.connection)).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    pub(super) fn accounting(&self) -> Accounting {
        let books = self.lock();
        let open = self.connections.len() as u64;
        Accounting { opened: books.opened, open, ended: books.ended }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
