//! One event per fact, told from one place: here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use tokio::sync::{Notify, broadcast};

use super::connection::Connection;
use super::registry::Registry;
use crate::ledger::{Committed, Entry, Ledger};
use crate::vocabulary::{Ending, Event, Opened};

/// How many events a slow reader may be behind before it is told of a gap.
const BACKLOG: usize = 4096;

/// Sees every event, in the order of its record.
pub(crate) type Observer = Box<dyn Fn(&Event) + Send + Sync>;

/// Takes facts to the ledger, and from there to all who want to know.
pub(super) struct Publisher {
    registry: Arc<Registry>,
    ledger: Arc<dyn Ledger>,
    events: broadcast::Sender<Event>,
    /// This, as the ledger knows it.
    committed: OnceLock<std::sync::Weak<Self>>,
    /// Told whenever a connection is gone from the registry.
    emptier: Notify,
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
            committed: OnceLock::new(),
            emptier: Notify::new(),
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

    /// Tells what needs no record.
    pub(super) fn announce(&self, event: Event) {
        if let Some(observer) = &self.observer
            && catch_unwind(AssertUnwindSafe(|| observer(&event))).is_err()
        {
            // It is not ours, and no connection is to suffer for it.
            tracing::error!("the observer of events panicked");
        }
        // Without readers there is nobody to tell.
        let _ = self.events.send(event);
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Waits until no connection is open. Cancel safe.
    pub(super) async fn none_open(&self) {
        loop {
            let emptier = self.emptier.notified();
            if self.registry.len() == 0 {
                return;
            }
            emptier.await;
        }
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
    fn committed(&self, entry: Entry) {
        match entry {
            Entry::Opened(opened) => self.announce(Event::Opened(opened)),
            Entry::OpenFailed(ending) => self.announce(Event::OpenFailed(ending)),
            Entry::Ended(ending) => {
                let connection = self.registry.remove(ending.id);
                self.announce(Event::Ended(Arc::clone(&ending)));
                if let Some(connection) = connection {
                    connection.publish(ending);
                }
                self.emptier.notify_waiters();
            }
        }
    }
}
