//! The builder of a supervisor.

use std::sync::Arc;

use ractor::Actor;

use std::time::Duration;

use parking_lot::Mutex;

use super::admissions::Admissions;
use super::dialers::Dialers;
use super::relays::Relays;
use super::{Inner, Supervisor};
use crate::connection::budget::MemoryBudget;
use crate::ledger::{InMemory, Ledger};
use crate::listening::listener::Listeners;
use crate::node::commits::Publisher;
use crate::node::endings::EndingReaders;
use crate::node::registry::Registry;
use crate::node::relief::relieve;
use crate::node::revoking::RevocationList;
use crate::node::supervisor::{Supervising, SupervisorActor};
use crate::node::{Node, NodeSettings};
use crate::runtime::tasks::{Owned, Task};

use crate::node::endings::BACKLOG as ENDING_BACKLOG;
use crate::node::observing::Observer;
use crate::policy::admission::AdmissionLimits;
use crate::settings::{Limits, Records};
use crate::vocabulary::Published;

/// The default of [`Builder::memory`]: 512 MiB.
const MEMORY: u64 = 512 * 1024 * 1024;

/// The default of [`Builder::max_revocations`].
const MAX_REVOCATIONS: usize = 100_000;

/// Configures a [`Supervisor`].
#[must_use]
pub struct Builder {
    node: String,
    ledger: Arc<dyn Ledger>,
    observer: Option<Observer>,
    ending_backlog: usize,
    memory: u64,
    admission: AdmissionLimits,
    handshake_timeout: Duration,
    records: Records,
    dials_per_second: u64,
    max_revocations: usize,
}

/// The supervisor's actor or a thread could not be started.
#[derive(Debug, thiserror::Error)]
#[error("the supervisor could not be started: {0}")]
pub struct StartError(String);

impl Supervisor {
    /// Returns a builder with the default settings.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl StartError {
    fn observer(error: std::io::Error) -> Self {
        Self(format!("cannot start the observer's thread ({error})"))
    }
}

impl Default for Builder {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            node: "lastword".to_owned(),
            ledger: Arc::new(InMemory::default()),
            observer: None,
            ending_backlog: ENDING_BACKLOG,
            memory: MEMORY,
            admission: AdmissionLimits::default(),
            handshake_timeout: limits.handshake_timeout,
            records: Records::default(),
            dials_per_second: limits.dials_per_second,
            max_revocations: MAX_REVOCATIONS,
        }
    }
}

impl Builder {
    /// Sets the name of the node, recorded in its endings; by default `lastword`.
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.node = name.into();
        self
    }

    /// Sets where endings are stored; by default the newest 1,000 in memory.
    pub fn ledger(mut self, ledger: Arc<dyn Ledger>) -> Self {
        self.ledger = ledger;
        self
    }

    /// Calls `observer` with every event, in the order of the ledger, on a dedicated thread.
    ///
    /// A slow observer delays nothing: `close(…).await` may return before the observer has seen
    /// that ending. Up to 16 MiB of events are queued for it; those beyond are dropped and replaced
    /// by an
    /// [`Event::Gap`](crate::Event::Gap) with their number. The ledger is complete either way.
    ///
    /// A shutdown waits up to 2 seconds for the observer, which is dropped after the last event.
    pub fn observer(mut self, observer: impl Fn(&Published) + Send + Sync + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Sets how many endings a reader of [`Supervisor::endings`] may be behind before it misses the
    /// oldest; by default 65,536, of about 1 KiB each.
    pub fn ending_backlog(mut self, endings: usize) -> Self {
        self.ending_backlog = endings.max(1);
        self
    }

    /// Sets the bytes that queues, partly received messages and opening handshakes may use
    /// together; by default 512 MiB.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// Sets the limits on clients; by default no client is refused.
    pub fn admission(mut self, limits: AdmissionLimits) -> Self {
        self.admission = limits;
        self
    }

    /// Sets the time limit of opening handshakes on listeners; by default 10 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Sets what is recorded of requests that match no route.
    pub fn records(mut self, records: Records) -> Self {
        self.records = records;
        self
    }

    /// Sets how many dials per second all dialers may begin together; by default 50, and 0 is no
    /// limit.
    pub fn dials_per_second(mut self, dials: u64) -> Self {
        self.dials_per_second = dials;
        self
    }

    /// Sets how many revocations may be in force; by default 100,000, of some 500 bytes each.
    pub fn max_revocations(mut self, revocations: usize) -> Self {
        self.max_revocations = revocations;
        self
    }

    /// Starts the supervisor; must be called in a tokio runtime.
    ///
    /// # Errors
    /// Its actor or the observer's thread could not be started.
    pub async fn start(self) -> Result<Supervisor, StartError> {
        let name: Arc<str> = self.node.into();
        let registry = Arc::new(Registry::default());
        let readers = EndingReaders::new(self.ending_backlog);
        let revocations = RevocationList::new(self.max_revocations, Arc::clone(&registry));
        let revocations = Arc::new(revocations);
        let ledger = Arc::clone(&self.ledger);
        let (entered, revoking) = (Arc::clone(&registry), Arc::clone(&revocations));
        let publisher = Publisher::new(entered, revoking, self.ledger, self.observer, readers)
            .map_err(StartError::observer)?;
        let budget = Arc::new(MemoryBudget::new(self.memory));
        let supervising = Supervising::new(
            Arc::clone(&name),
            Arc::clone(&registry),
            Arc::clone(&publisher),
            Arc::clone(&revocations),
            Arc::clone(&budget),
        );
        let (supervisor, _task) = SupervisorActor::spawn(None, SupervisorActor, supervising)
            .await
            .map_err(|error| StartError(error.to_string()))?;
        let (of_all, connections) = (Arc::clone(&budget), Arc::clone(&registry));
        let relief = Owned::spawn(async move {
            let mut task = Task::new("relief of memory");
            task.keep(|| relieve(Arc::clone(&of_all), Arc::clone(&connections))).await;
        });
        let restoring = (!revocations.restore(&*ledger)).then(|| {
            let revocations = Arc::clone(&revocations);
            Owned::spawn(async move {
                let mut task = Task::new("recorded revocations");
                task.keep(|| revocations.restore_late(&*ledger)).await;
            })
        });
        let settings = NodeSettings {
            limits: self.admission,
            handshake_timeout: self.handshake_timeout,
            records: self.records,
        };
        let node = Node::new(name, registry, publisher, revocations, settings, supervisor);
        let inner = Inner {
            node: Arc::new(node),
            drains: Arc::default(),
            drainer: Mutex::default(),
            budget,
            _relief: relief,
            _restoring: restoring,
            relays: Relays::default(),
            admissions: Admissions::default(),
            listeners: Listeners::default(),
        };
        let dialers = Arc::new(Dialers::new(self.dials_per_second));
        Ok(Supervisor { inner: Arc::new(inner), dialers })
    }
}
