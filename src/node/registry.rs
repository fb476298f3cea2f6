//! All open connections, and the counts that must balance.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use parking_lot::Mutex;

use super::counts::{CensusUnderWay, ConnectionCounts, Departed, LineNumber};
use super::lease::Lease;
use super::slots::ConnectionSlot;
use super::subjects::{Replacing, Staying, StayingConnections};
use crate::connection::Connection;
use crate::connection::counters::Carried;
use crate::connection::held::Held;
use crate::settings::Replace;
use crate::vocabulary::{BuildIdHasher, Census, CloseState, ConnectionId, Ending};

/// Into how many parts the connections are split, each under a lock of its own. A census reads one
/// part at a time: with 20,000 connections a caller waits for at most about 300 of them.
const PARTS: usize = 64;

/// The open connections, by id.
pub(crate) struct Registry {
    connections: DashMap<ConnectionId, Entry, BuildIdHasher>,
    counts: Mutex<ConnectionCounts>,
    staying: StayingConnections,
    /// How many turns were given.
    turns: AtomicU64,
    /// The last census; locked while the next one is taken.
    last_census: Mutex<LastCensus>,
}

/// A connection that is open, or whose ending is not recorded yet.
struct Entry {
    connection: Arc<Connection>,
    /// Its slot.
    slot: Option<ConnectionSlot>,
    /// Its share of an application, if it is the leg to one.
    lease: Option<Box<dyn Lease>>,
    /// Its line in the counts.
    line: LineNumber,
    /// How many had opened when it had.
    number: u64,
    /// The last census that has counted it.
    counted_in: AtomicU64,
}

/// A connection that has ended, and what it had.
pub(crate) struct Removed {
    pub(crate) connection: Arc<Connection>,
    pub(crate) slot: Option<ConnectionSlot>,
    pub(crate) lease: Option<Box<dyn Lease>>,
}

#[derive(Debug, Default)]
struct LastCensus {
    number: u64,
    carried: Carried,
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
    /// Returns whether the counts balance.
    pub fn balances(&self) -> bool {
        self.opened == self.open + self.ended
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            connections: DashMap::with_hasher_and_shard_amount(BuildIdHasher::default(), PARTS),
            counts: Mutex::default(),
            staying: StayingConnections::default(),
            turns: AtomicU64::default(),
            last_census: Mutex::default(),
        }
    }
}

impl Registry {
    pub(crate) fn insert(
        &self,
        connection: Arc<Connection>,
        slot: Option<ConnectionSlot>,
        lease: Option<Box<dyn Lease>>,
    ) {
        // Counts and map change under one lock, so that no reader sees one without the other.
        let mut counts = self.counts.lock();
        let line = counts.open(&connection.origin);
        let (number, counted_in) = (counts.opened, AtomicU64::new(0));
        let entry = Entry { connection, slot, lease, line, number, counted_in };
        self.connections.insert(entry.connection.id, entry);
    }

    /// Removes a connection that has ended; `None` if that was done before.
    pub(crate) fn remove(&self, ending: &Ending) -> Option<Removed> {
        let mut counts = self.counts.lock();
        let (_, entry) = self.connections.remove(&ending.id)?;
        let Entry { connection, slot, lease, line, number, counted_in } = entry;
        let carried = connection.counters.carried();
        counts.end(line, &ending.outcome, carried);
        if let Some(census) = &mut counts.census
            && census.misses(number, counted_in.into_inner())
        {
            let state = ending.outcome.state.unwrap_or(CloseState::Closed);
            census.departed.push(Departed { line, state, carried });
        }
        drop(counts);
        self.staying.remove(&connection.origin, connection.id);
        Some(Removed { connection, slot, lease })
    }

    /// Returns the turn of a connection whose 101 is about to be sent.
    pub(crate) fn next_turn(&self) -> u64 {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// Enters a connection as the one of its subject on its route; returns the one that goes.
    ///
    /// The connection is in the registry, and its actor has not started: it cannot end meanwhile.
    /// Only the supervisor calls this, one connection after the other.
    pub(crate) fn replace(
        &self,
        connection: &Arc<Connection>,
        replacing: Replacing,
    ) -> Option<Arc<Connection>> {
        let Connection { origin, id, .. } = &**connection;
        let Replacing { rule, turn } = replacing;
        if rule == Replace::None {
            return None;
        }
        let staying = self.staying.get(origin).and_then(|it| Some((self.get(it.id)?, it.turn)));
        let goes = match staying {
            // One that is closing keeps no other out.
            Some((other, its_turn)) if other.state() == CloseState::Open => {
                let is_newcomer = turn > its_turn;
                if is_newcomer == (rule == Replace::Newest) {
                    return Some(Arc::clone(connection));
                }
                Some(other)
            }
            Some(_) | None => None,
        };
        self.staying.set(origin, Staying { id: *id, turn });
        goes
    }

    #[cfg(test)]
    pub(crate) fn has_no_subjects(&self) -> bool {
        self.staying.is_empty()
    }

    pub(crate) fn get(&self, id: ConnectionId) -> Option<Arc<Connection>> {
        self.connections.get(&id).map(|entry| Arc::clone(&entry.connection))
    }

    /// Returns all connections that are open now.
    pub(crate) fn all(&self) -> Vec<Arc<Connection>> {
        self.connections.iter().map(|entry| Arc::clone(&entry.connection)).collect()
    }

    /// Returns the connections that hold memory, and how much.
    pub(crate) fn holders(&self) -> Vec<(Held, Arc<Connection>)> {
        let held = self.connections.iter().map(|entry| (Held::by(&entry.connection), entry));
        let holding = held.filter(|(held, _)| held.total() > 0);
        holding.map(|(held, entry)| (held, Arc::clone(&entry.connection))).collect()
    }

    /// Returns all connections that are open now, the oldest first.
    ///
    /// Neighbours in age are neighbours in memory, ours and the kernel's: a caller that does something
    /// with each is faster in this order than in the map's.
    pub(crate) fn oldest_first(&self) -> Vec<Arc<Connection>> {
        let mut all: Vec<_> = self
            .connections
            .iter()
            .map(|entry| (*entry.key(), Arc::clone(&entry.connection)))
            .collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all.into_iter().map(|(_, connection)| connection).collect()
    }

    /// Returns how many ever opened.
    pub(crate) fn opened(&self) -> u64 {
        self.counts.lock().opened
    }

    /// Returns those that are open now and opened when so many others had.
    pub(crate) fn opened_after(&self, opened: u64) -> Vec<Arc<Connection>> {
        if self.opened() == opened {
            return Vec::new();
        }
        let newer = self.connections.iter().filter(|entry| entry.number > opened);
        newer.map(|entry| Arc::clone(&entry.connection)).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        let counts = self.counts.lock();
        counts.opened == counts.ended
    }

    pub(crate) fn accounting(&self) -> Accounting {
        let counts = self.counts.lock();
        let open = self.connections.len() as u64;
        Accounting { opened: counts.opened, open, ended: counts.ended }
    }

    /// Counts all connections, so that each line of the census balances.
    ///
    /// Which connections are open is fixed in one step with the counts, at the same cost however many
    /// there are. Their states are read afterwards. Connections that open meanwhile do not count;
    /// those that end meanwhile report their state, unless they have been counted.
    pub(crate) fn census(&self) -> Census {
        let mut last = self.last_census.lock();
        last.number += 1;
        let under_way = |opened| CensusUnderWay { number: last.number, opened, departed: vec![] };
        let (mut census, opened, mut carried) = {
            let mut counts = self.counts.lock();
            counts.census = Some(under_way(counts.opened));
            (counts.take_census(), counts.opened, counts.carried)
        };
        for entry in self.connections.iter().filter(|entry| entry.number <= opened) {
            entry.counted_in.store(last.number, Ordering::Relaxed);
            let connection = &entry.connection;
            entry.line.of(&mut census).open.count(connection.state());
            carried.add(connection.counters.carried());
            census.outbox_bytes += connection.outbox.backlog().0 as u64;
        }
        let under_way = self.counts.lock().census.take();
        for departed in under_way.into_iter().flat_map(|census| census.departed) {
            departed.line.of(&mut census).open.count(departed.state);
            carried.add(departed.carried);
        }
        census.lines.retain(|line| line.opened > 0);
        // A message that is counted while its connection ends may be in this census and not in the
        // counts: it must not make the next census smaller.
        last.carried = last.carried.at_least(carried);
        census.messages_in = last.carried.messages_in;
        census.messages_out = last.carried.messages_out;
        census
    }
}
