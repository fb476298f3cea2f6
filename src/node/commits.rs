//! One event per fact, told from one place: here.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast, oneshot};

use super::endings::{EndingQueue, EndingReaders};
use super::observing::{Observer, Observing};
use super::registry::{Registry, Removed};
use super::revoking::RevocationList;
use crate::actor::decider::ClosingObserver;
use crate::connection::Connection;
use crate::ledger::{Committed, Entry, Ledger};
use crate::vocabulary::{
    Closing, ConnectionOpened, Ending, Event, IdMap, Published, Record, RevocationChange,
};

/// How many events a slow reader may be behind before it is told of a gap.
const BACKLOG: usize = 4096;

/// How long the end of a supervisor waits for its observer to be told of the last events.
const OBSERVER_PATIENCE: Duration = Duration::from_secs(2);

/// Takes facts to the ledger, and from there to all who want to know.
pub(crate) struct Publisher {
    registry: Arc<Registry>,
    revocations: Arc<RevocationList>,
    ledger: Arc<dyn Ledger>,
    /// `None` once nothing more will come.
    events: Mutex<Option<broadcast::Sender<Published>>>,
    endings: EndingReaders,
    /// The place of the last event that has one. Held while an event is sent, so that a
    /// subscriber knows the place at which its events begin.
    last: Mutex<Option<u64>>,
    /// Who waits for the record of an attempt.
    awaited: Mutex<IdMap<oneshot::Sender<()>>>,
    /// This, as the ledger knows it.
    committed: OnceLock<std::sync::Weak<Self>>,
    /// Told whenever the last connection is gone from the registry.
    empty: Notify,
    /// How many endings are on their way from the registry to those who are told.
    leaving: AtomicUsize,
    observing: Option<Observing>,
}

impl Publisher {
    /// # Errors
    /// When the system has no thread left for the observer.
    pub(crate) fn new(
        registry: Arc<Registry>,
        revocations: Arc<RevocationList>,
        ledger: Arc<dyn Ledger>,
        observer: Option<Observer>,
        endings: EndingReaders,
    ) -> io::Result<Arc<Self>> {
        let publisher = Arc::new(Self {
            registry,
            revocations,
            ledger,
            events: Mutex::new(Some(broadcast::channel(BACKLOG).0)),
            endings,
            last: Mutex::new(None),
            awaited: Mutex::default(),
            committed: OnceLock::new(),
            empty: Notify::new(),
            leaving: AtomicUsize::new(0),
            observing: observer.map(Observing::start).transpose()?,
        });
        let _ = publisher.committed.set(Arc::downgrade(&publisher));
        Ok(publisher)
    }

    /// Records that a connection opened.
    pub(crate) fn opened(&self, connection: &Connection) {
        let opened = ConnectionOpened {
            id: connection.id,
            node: Arc::clone(&connection.node),
            origin: Arc::clone(&connection.origin),
            relay_peer: connection.relay_peer.get().copied(),
            opened_at: connection.opened_at,
        };
        self.append(Entry::Opened(Arc::new(opened)));
    }

    /// Records that a connection ended.
    pub(crate) fn ended(&self, ending: Ending) {
        self.append(Entry::Ended(Arc::new(ending)));
    }

    /// Records that an attempt failed.
    pub(crate) fn open_failed(&self, ending: Arc<Ending>) {
        self.append(Entry::OpenFailed(ending));
    }

    /// Records that an attempt failed, and waits until that is durable or cannot be: the ledger
    /// says so in bounded time.
    ///
    /// # Cancel safety
    /// Dropped, it is recorded all the same.
    pub(crate) async fn open_failed_durably(&self, ending: Arc<Ending>) {
        let (told, recorded) = oneshot::channel();
        self.awaited.lock().insert(ending.id, told);
        self.open_failed(ending);
        // It is told of every entry, so the sender is not dropped unused.
        let _ = recorded.await;
    }

    /// Records that a revocation was made or withdrawn.
    pub(crate) fn revocation(&self, change: RevocationChange) {
        self.append(Entry::Revocation(change));
    }

    /// Tells what the ledger need not hear.
    pub(crate) fn announce(&self, event: Event) {
        self.notify(Published { event, record: Record::None });
    }

    /// Tells observer and readers. Waits for neither: it runs on the ledger's thread.
    fn notify(&self, published: Published) {
        // One lock for both, so that they hear of everything in the same order.
        let mut last = self.last.lock();
        if let Some(observing) = &self.observing {
            observing.push(published.clone());
        }
        self.endings.push(&published);
        // A flood of attempts that are only counted must not push events out of slow readers' queues.
        if published.record != Record::Counted {
            *last = published.record.sequence().or(*last);
            // There may be no readers.
            let _ = self.events.lock().as_ref().map(|events| events.send(published));
        }
    }

    pub(crate) fn ledger(&self) -> &dyn Ledger {
        &*self.ledger
    }

    /// Returns the events from now on, and the place of the last one before them, if this process
    /// has told of one that has a place.
    pub(crate) fn subscribe(&self) -> (broadcast::Receiver<Published>, Option<u64>) {
        let last = self.last.lock();
        let events = match &*self.events.lock() {
            Some(events) => events.subscribe(),
            // Its sender is gone: it ends at once.
            None => broadcast::channel(1).1,
        };
        (events, *last)
    }

    /// Returns the endings from now on.
    pub(crate) fn endings(&self) -> Arc<EndingQueue> {
        self.endings.subscribe()
    }

    /// Says to all readers that nothing more will come.
    pub(crate) fn end(&self) {
        self.events.lock().take();
        self.endings.close();
    }

    /// Waits until no connection is open, and the readers of events have been told of every ending.
    /// Cancel safe.
    pub(crate) async fn none_open(&self) {
        loop {
            let empty = self.empty.notified();
            if self.is_quiescent() {
                return;
            }
            empty.await;
        }
    }

    /// Waits until the observer has been told of everything so far, for a bounded time.
    pub(crate) async fn observed(&self) {
        let Some(observing) = &self.observing else { return };
        if tokio::time::timeout(OBSERVER_PATIENCE, observing.idle()).await.is_err() {
            tracing::warn!(
                events = observing.behind(),
                "the observer of events does not return: it has not been told of the last events"
            );
        }
    }

    fn is_quiescent(&self) -> bool {
        // The registry first: what is removed from it was counted as leaving before.
        self.registry.is_empty() && self.leaving.load(Ordering::SeqCst) == 0
    }

    fn append(&self, entry: Entry) {
        // The weak reference is alive as long as `self` is borrowed.
        if let Some(committed) = self.committed.get().and_then(std::sync::Weak::upgrade) {
            let committed: Arc<dyn Committed> = committed;
            self.ledger.append(entry, &committed);
        }
    }
}

impl ClosingObserver for Publisher {
    /// Tells of a closing handshake, behind what was recorded before it.
    fn closing(&self, closing: Closing) {
        self.append(Entry::Closing(closing));
    }
}

impl Committed for Publisher {
    /// Lets go of what has ended and tells who wants to know. Runs on the ledger's thread, and waits
    /// for no observer, reader or log.
    fn committed(&self, entry: Entry, record: Record) {
        let (mut ended, mut awaited) = (None, None);
        match &entry {
            Entry::Opened(_) | Entry::Closing(_) => {}
            Entry::OpenFailed(ending) => awaited = self.awaited.lock().remove(&ending.id),
            Entry::Ended(ending) => ended = Some(Arc::clone(ending)),
            Entry::Revocation(change) => {
                let change = change.clone();
                if !matches!(record, Record::Failed | Record::Counted) {
                    self.notify(Published { event: entry.into(), record });
                }
                return self.revocations.committed(&change, record);
            }
        }
        let Some(ending) = ended else {
            self.notify(Published { event: entry.into(), record });
            if let Some(awaited) = awaited {
                // The waiter may have been dropped.
                let _ = awaited.send(());
            }
            return;
        };
        // Counted until it is told: a stop that finds no connection left must not overtake its last event.
        let _leaving = Leaving::new(self);
        let removed = self.registry.remove(&ending);
        self.notify(Published { event: entry.into(), record });
        if let Some(Removed { connection, slot, lease }) = removed {
            if let Some(lease) = lease {
                lease.ended(&ending.outcome);
            }
            connection.publish_ending(ending);
            // Only now: until it is recorded, an ending takes up room, and so a slot.
            drop(slot);
        }
    }
}

/// A connection between its removal from the registry and the last word about it. Counted by drop:
/// a panic in between must not keep a stop waiting.
struct Leaving<'a>(&'a Publisher);

impl<'a> Leaving<'a> {
    fn new(publisher: &'a Publisher) -> Self {
        publisher.leaving.fetch_add(1, Ordering::SeqCst);
        Self(publisher)
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let publisher = self.0;
        if publisher.leaving.fetch_sub(1, Ordering::SeqCst) == 1 && publisher.registry.is_empty() {
            publisher.empty.notify_waiters();
        }
    }
}
