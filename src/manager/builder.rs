//! Configures a supervisor.

use std::sync::Arc;

use ractor::Actor;

use std::time::Duration;

use parking_lot::Mutex;

use super::dialers::Dialers;
use super::relays::Relays;
use super::{Inner, Supervisor};
use crate::connection::budget::MemoryBudget;
use crate::ledger::{InMemory, Ledger};
use crate::listening::listener::Listeners;
use crate::node::Node;
use crate::node::commits::Publisher;
use crate::node::endings::EndingReaders;
use crate::node::registry::Registry;
use crate::node::relief::relieve;
use crate::node::supervisor::{Supervising, SupervisorActor};
use crate::runtime::tasks::{Owned, Task};

use crate::node::endings::BACKLOG as ENDING_BACKLOG;
use crate::node::observing::Observer;
use crate::policy::admission::AdmissionLimits;
use crate::settings::{Limits, Records};
use crate::vocabulary::Published;

/// Half a gibibyte: what all queues together may hold unless something else is said.
const MEMORY: u64 = 512 * 1024 * 1024;

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
}

/// Tells that the supervisor's actor could not be started.
#[derive(Debug, thiserror::Error)]
#[error("the supervisor could not be started: {0}")]
pub struct StartError(String);

impl Supervisor {
    /// Configures a supervisor.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl StartError {
    fn observer(error: std::io::Error) -> Self {
        Self(format!("the system has no thread for its observer ({error})"))
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
        }
    }
}

impl Builder {
    /// Names the node in its endings.
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.node = name.into();
        self
    }

    /// Chooses where endings are kept; by default the newest 1,000, in memory.
    pub fn ledger(mut self, ledger: Arc<dyn Ledger>) -> Self {
        self.ledger = ledger;
        self
    }

    /// Tells `observer` of every event, in the order of its record, on a thread of its own.
    ///
    /// Nothing waits for it: no connection, no ending and no reader of events, however slow it is.
    /// It is told a little later than others are, so `close(…).await` may return before it has been
    /// told of that ending. Up to 16 MiB of events wait for it; those beyond are dropped, and in
    /// their place it is told [`Event::Gap`](crate::Event::Gap) with their number. So it sees every
    /// event, or how many it missed; what the ledger keeps is complete either way. A shutdown waits
    /// for it, but for 2 seconds at most; it is dropped once it has been told the last event.
    pub fn observer(mut self, observer: impl Fn(&Published) + Send + Sync + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Bounds how many endings a reader of [`Supervisor::endings`] may be behind before it misses the
    /// oldest; by default 65,536. One that is behind takes about 1 KiB for each.
    pub fn ending_backlog(mut self, endings: usize) -> Self {
        self.ending_backlog = endings.max(1);
        self
    }

    /// Bounds what queues, messages received in part and opening handshakes take together, in bytes;
    /// by default 512 MiB.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// Bounds who may connect; by default nobody is refused.
    pub fn admission(mut self, limits: AdmissionLimits) -> Self {
        self.admission = limits;
        self
    }

    /// Bounds the opening handshake of listeners; by default 10 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Says what of a request is recorded where no route matched.
    pub fn records(mut self, records: Records) -> Self {
        self.records = records;
        self
    }

    /// Bounds how many dials dialers begin per second, all together; by default 50, 0 is no limit.
    pub fn dials_per_second(mut self, dials: u64) -> Self {
        self.dials_per_second = dials;
        self
    }

    /// Starts the supervisor. Needs the context of a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] if its actor could not be started.
    pub async fn start(self) -> Result<Supervisor, StartError> {
        let name: Arc<str> = self.node.into();
        let registry = Arc::new(Registry::default());
        let readers = EndingReaders::new(self.ending_backlog);
        let publisher = Publisher::new(Arc::clone(&registry), self.ledger, self.observer, readers)
            .map_err(StartError::observer)?;
        let budget = Arc::new(MemoryBudget::new(self.memory));
        let supervising = Supervising::new(
            Arc::clone(&name),
            Arc::clone(&registry),
            Arc::clone(&publisher),
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
        let node = Node::new(name, registry, publisher, self.admission, self.records, supervisor);
        let inner = Inner {
            node: Arc::new(node),
            handshake_timeout: self.handshake_timeout,
            max_connections: self.admission.max_connections,
            drains: Arc::default(),
            drainer: Mutex::default(),
            budget,
            _relief: relief,
            relays: Relays::default(),
            listeners: Listeners::default(),
        };
        let dialers = Arc::new(Dialers::new(self.dials_per_second));
        Ok(Supervisor { inner: Arc::new(inner), dialers })
    }
}
