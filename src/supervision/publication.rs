//! One event per fact, told from one place: here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{Notify, broadcast, oneshot};

use super::connection::Connection;
use super::registry::{Registry, Removed};
use crate::ledger::{Committed, Entry, Ledger};
use crate::vocabulary::{Closing, Ending, Event, IdMap, Opened, Published, Record};

/// How many events a slow reader may be behind before it is told of a gap.
const BACKLOG: usize = 4096;

/// Sees every event, in the order of its record.
pub(crate) type Observer = Box<dyn Fn(&Published) + Send + Sync>;

/// Takes facts to the ledger, and from there to all who want to know.
pub(super) struct Publisher {
    registry: Arc<Registry>,
    ledger: Arc<dyn Ledger>,
    events: broadcast::Sender<Published>,
    /// The place of the last event that has one. Held while an event is sent, so that whoever
    /// subscribes knows the place at which its events begin.
    last: Mutex<Option<u64>>,
    /// Who waits for the record of an attempt.
    awaited: Mutex<IdMap<oneshot::Sender<()>>>,
    /// This, as the ledger knows it.
    committed: OnceLock<std::sync::Weak<Self>>,
    /// Told whenever the last connection is gone from the registry.
    empty: Notify,
    observer: Option<Observer>,
}

impl Publisher {
    pub(super) fn new(
        registry: Arc<Registry>,
        ledger: Arc<dyn Ledger>,
        observer: Option<Observer>,
    ) -> Arc<Self> {
        let publisher = Arc::new(Self {
            registry,
            ledger,
            events: broadcast::channel(BACKLOG).0,
            last: Mutex::new(None),
            awaited: Mutex::default(),
            committed: OnceLock::new(),
            empty: Notify::new(),
            observer,
        });
        let _ = publisher.committed.set(Arc::downgrade(&publisher));
        publisher
    }

    /// Records that a connection opened.
    pub(super) fn opened(&self, connection: &Connection) {
        let opened = Opened {
            id: connection.id,
            node: Arc::clone(&connection.node),
            origin: Arc::clone(&connection.origin),
            opened_at: connection.opened_at,
        };
        self.append(Entry::Opened(Arc::new(opened)));
    }

    /// Records that a connection ended.
    pub(super) fn ended(&self, ending: Ending) {
        self.append(Entry::Ended(Arc::new(ending)));
    }

    /// Records that an attempt failed.
    pub(super) fn open_failed(&self, ending: Arc<Ending>) {
        self.append(Entry::OpenFailed(ending));
    }

    /// Records that an attempt failed, and waits until that is durable or cannot be: the ledger
    /// says so in bounded time.
    ///
    /// # Cancel safety
    /// Dropped, it is recorded all the same.
    pub(super) async fn open_failed_durably(&self, ending: Arc<Ending>) {
        let (told, recorded) = oneshot::channel();
        self.lock_awaited().insert(ending.id, told);
        self.open_failed(ending);
        // It is told of every entry, so the sender is not dropped unused.
        let _ = recorded.await;
    }

    /// Tells of a closing handshake, behind what was recorded before it.
    pub(super) fn closing(&self, closing: Closing) {
        self.append(Entry::Closing(closing));
    }

    /// Tells what the ledger need not hear.
    pub(super) fn announce(&self, event: Event) {
        self.tell(Published { event, record: Record::None });
    }

    fn tell(&self, published: Published) {
        if let Some(observer) = &self.observer
            && catch_unwind(AssertUnwindSafe(|| observer(&published))).is_err()
        {
            // It is not ours, and no connection is to suffer for it.
            tracing::error!("the observer of events panicked");
        }
        // A flood of attempts that are only counted must not push events out of slow readers' queues.
        if published.record != Record::Counted {
            let mut last = self.lock_last();
            *last = published.record.sequence().or(*last);
            // Without readers there is nobody to tell.
            let _ = self.events.send(published);
        }
    }

    pub(super) fn ledger(&self) -> &dyn Ledger {
        &*self.ledger
    }

    /// Returns the events from now on, and the place of the last one before them, if this process
    /// has told of one that has a place.
    pub(super) fn subscribe(&self) -> (broadcast::Receiver<Published>, Option<u64>) {
        let last = self.lock_last();
        (self.events.subscribe(), *last)
    }

    /// Waits until no connection is open. Cancel safe.
    pub(super) async fn none_open(&self) {
        loop {
            let empty = self.empty.notified();
            if self.registry.len() == 0 {
                return;
            }
            empty.await;
        }
    }

    fn lock_last(&self) -> MutexGuard<'_, Option<u64>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_awaited(&self) -> MutexGuard<'_, IdMap<oneshot::Sender<()>>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, entry: Entry) {
        // The weak reference is alive as long as `self` is borrowed.
        if let Some(committed) = self.committed.get().and_then(std::sync::Weak::upgrade) {
            let committed: Arc<dyn Committed> = committed;
            self.ledger.append(entry, &committed);
        }
    }
}

impl Committed for Publisher {
    fn committed(&self, entry: Entry, record: Record) {
        let (mut ended, mut awaited) = (None, None);
        match &entry {
            Entry::Opened(_) | Entry::Closing(_) => {}
            Entry::OpenFailed(ending) => awaited = self.lock_awaited().remove(&ending.id),
            Entry::Ended(ending) => ended = Some(Arc::clone(ending)),
        }
        let removed = ended.as_ref().and_then(|ending| self.registry.remove(ending));
        self.tell(Published { event: entry.into(), record });
        if let Some(awaited) = awaited {
            // Whoever waited may have gone.
            let _ = awaited.send(());
        }
        if let (Some(ending), Some(Removed { connection, place, lease, none_left })) =
            (ended, removed)
        {
            if let Some(lease) = lease {
                lease.ended(&ending.outcome);
            }
            connection.publish(ending);
            // Only now: until it is recorded, an ending takes up room, and so a place.
            drop(place);
            if none_left {
                self.empty.notify_waiters();
            }
        }
    }
}
