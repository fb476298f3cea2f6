//! Applies revocations: to the connections that are open, and to those that open.
//!
//! A revocation takes effect once the ledger has recorded it: first it is entered here, then the
//! open connections are looked through. A connection that opens is first entered in the registry,
//! then looked up here. So whatever the order of the two, one of them sees the other.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use super::registry::Registry;
use crate::connection::Connection;
use crate::ledger::{Ledger, RecordedRevocations};
use crate::policy::revocations::{Credentials, Revocations, TooManyRevocations, applies};
use crate::protocol::closing_handshake::CloseRequest;
use crate::runtime::wall_clock;
use crate::vocabulary::{
    Cause, CloseCode, Grant, Record, Requester, Revocation, RevocationChange, RevocationCounts,
    RevocationTarget,
};

/// What a client reads to which a revocation applies: the reason of its Close, or its refusal.
pub(crate) const ACCESS_REVOKED: &str = "access revoked";

/// How often to look whether the ledger can be read, while it cannot.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The revocations that are in force, and the connections to apply them to.
pub(crate) struct RevocationList {
    state: RwLock<State>,
    registry: Arc<Registry>,
    /// Those who wait until a change is recorded, by the number of the revocation and in order.
    awaited: Mutex<HashMap<u64, VecDeque<oneshot::Sender<Applied>>>>,
    closed: AtomicU64,
    refused: AtomicU64,
}

struct State {
    revocations: Revocations,
    /// Those that the ledger had recorded have been read.
    restored: bool,
}

/// What became of a change.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Applied {
    /// It was made, and closed so many connections.
    Made { closed: usize },
    /// It was withdrawn, unless it had expired or was withdrawn before.
    Withdrawn { found: bool },
    /// The ledger could not record it, so nothing has changed.
    NotRecorded,
}

impl RevocationList {
    pub(crate) fn new(limit: usize, registry: Arc<Registry>) -> Self {
        Self {
            state: RwLock::new(State { revocations: Revocations::new(limit), restored: false }),
            registry,
            awaited: Mutex::default(),
            closed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Sets how many revocations may be in force from now on.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.state.write().revocations.set_limit(limit);
    }

    /// Takes over the revocations that the ledger has recorded; returns `false` if it cannot be
    /// read yet.
    pub(crate) fn restore(&self, ledger: &dyn Ledger) -> bool {
        let Some(RecordedRevocations { last, revocations }) = ledger.revocations() else {
            return false;
        };
        let mut state = self.state.write();
        if !std::mem::replace(&mut state.restored, true) {
            state.revocations.restore(last, revocations);
            state.revocations.expire(wall_clock::now());
        }
        true
    }

    /// Waits until the ledger can be read, and then applies what it has recorded also to the
    /// connections that have opened meanwhile.
    pub(crate) async fn restore_late(&self, ledger: &dyn Ledger) {
        while !self.restore(ledger) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        for connection in self.registry.all() {
            self.close_if_revoked(&connection);
        }
    }

    /// Prepares a revocation, which is to be recorded; `None` until those that the ledger has
    /// recorded are known, since its number could be one of theirs.
    pub(crate) fn prepare(
        &self,
        target: RevocationTarget,
        expires_at: Option<SystemTime>,
        by: Option<Requester>,
    ) -> Result<Option<Arc<Revocation>>, TooManyRevocations> {
        let created_at = wall_clock::now();
        let mut state = self.state.write();
        if !state.restored {
            return Ok(None);
        }
        let number = state.revocations.reserve(created_at)?;
        Ok(Some(Arc::new(Revocation { number, target, created_at, expires_at, by })))
    }

    /// Returns what will become of a change that is about to be recorded.
    pub(crate) fn await_change(&self, change: &RevocationChange) -> oneshot::Receiver<Applied> {
        let (sender, applied) = oneshot::channel();
        let number = change.revocation().number;
        self.awaited.lock().entry(number).or_default().push_back(sender);
        applied
    }

    /// Applies a change that the ledger has reported. Runs on the ledger's thread.
    pub(super) fn committed(&self, change: &RevocationChange, record: Record) {
        let revocation = change.revocation();
        let applied = match (change, record) {
            (_, Record::Failed | Record::Counted) => {
                if let RevocationChange::Made(_) = change {
                    self.state.write().revocations.release();
                }
                Applied::NotRecorded
            }
            // A ledger of an embedder need not keep revocations.
            (RevocationChange::Made(_), Record::Durable(_) | Record::None) => {
                self.state.write().revocations.add(Arc::clone(revocation));
                Applied::Made { closed: self.close_all(revocation) }
            }
            (RevocationChange::Withdrawn { .. }, Record::Durable(_) | Record::None) => {
                let found = self.state.write().revocations.remove(revocation.number);
                Applied::Withdrawn { found: found.is_some() }
            }
        };
        let mut awaited = self.awaited.lock();
        if let Some(waiting) = awaited.get_mut(&revocation.number) {
            let sender = waiting.pop_front();
            if waiting.is_empty() {
                awaited.remove(&revocation.number);
            }
            // The waiter may have been dropped.
            let _ = sender.map(|sender| sender.send(applied));
        }
    }

    /// Closes the open connections that a new revocation applies to; returns how many.
    fn close_all(&self, revocation: &Revocation) -> usize {
        let all = self.registry.all();
        let revoked = all.iter().filter(|connection| {
            with_credentials(connection, |credentials| applies(revocation, credentials))
        });
        revoked.filter(|connection| self.close(connection, revocation)).count()
    }

    /// Closes a connection that is in the registry if a revocation applies to it; returns whether
    /// one does.
    pub(crate) fn close_if_revoked(&self, connection: &Connection) -> bool {
        let now = wall_clock::now;
        let revocation = self
            .look(|list| with_credentials(connection, |whose| list.find(whose, now()).cloned()));
        if let Some(revocation) = &revocation {
            self.close(connection, revocation);
        }
        revocation.is_some()
    }

    fn close(&self, connection: &Connection, revocation: &Revocation) -> bool {
        let frame = connection.own_frame(CloseCode::UNAUTHORIZED, ACCESS_REVOKED);
        let (cause, by) = (Cause::Revoked, revocation.by.clone());
        let closes = connection.close(CloseRequest { by, ..CloseRequest::new(frame, cause) });
        if closes {
            self.closed.fetch_add(1, Ordering::Relaxed);
        }
        closes
    }

    /// Returns the revocation that applies to a client with this subject and grant now, so that it is
    /// refused.
    pub(crate) fn refusal(
        &self,
        subject: Option<&str>,
        grant: Option<&Grant>,
    ) -> Option<Arc<Revocation>> {
        let revocation = self.look(|list| {
            let now = wall_clock::now();
            list.find(&Credentials::new(subject, grant, now), now).cloned()
        })?;
        self.refused.fetch_add(1, Ordering::Relaxed);
        Some(revocation)
    }

    /// Looks for a revocation, if there are any: as a rule there are none, and nothing else is read.
    fn look(
        &self,
        find: impl FnOnce(&Revocations) -> Option<Arc<Revocation>>,
    ) -> Option<Arc<Revocation>> {
        let state = self.state.read();
        if state.revocations.is_empty() { None } else { find(&state.revocations) }
    }

    /// Returns the revocation with this number, if it is in force.
    pub(crate) fn get(&self, number: u64) -> Option<Arc<Revocation>> {
        self.state.read().revocations.get(number, wall_clock::now()).cloned()
    }

    /// Returns the revocations in force, the newest first.
    pub(crate) fn in_force(&self) -> Vec<Arc<Revocation>> {
        self.state.read().revocations.in_force(wall_clock::now()).cloned().collect()
    }

    pub(crate) fn counts(&self) -> RevocationCounts {
        let in_force = self.state.read().revocations.in_force(wall_clock::now()).count();
        RevocationCounts {
            in_force: in_force as u64,
            closed: self.closed.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

/// Returns what `look` finds out of what an open connection is known by.
fn with_credentials<T>(connection: &Connection, look: impl FnOnce(&Credentials<'_>) -> T) -> T {
    let (subject, grant) = (connection.origin.subject.as_deref(), connection.granted.current());
    look(&Credentials::new(subject, grant.as_deref(), connection.opened_at))
}
