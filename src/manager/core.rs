//! The core: a supervisor actor and what it shares, as the public library sees them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ractor::{Actor, ActorRef};
use tokio::sync::{broadcast, oneshot, watch};
use tokio::task::JoinSet;

use super::relays::{DrainBackendError, NoBackend, Relays};
use crate::connection::budget::MemoryBudget;
use crate::connection::handle::ConnectionHandle;
use crate::draining::drain;
use crate::draining::job::Jobs;
use crate::draining::options::{DrainOptions, DrainReport, DrainUnderWay};
use crate::ledger::{Health, Ledger};
use crate::listening::listener::{ListenError, Listener, ListenerHandle, Listeners};
use crate::listening::route::Route;
use crate::node::adoption::{Adoption, SupervisorMessage};
use crate::node::attempt::Attempt;
use crate::node::broadcast::{BroadcastReport, send_to_all};
use crate::node::commits::Publisher;
use crate::node::endings::{EndingQueue, EndingReaders};
use crate::node::observing::Observer;
use crate::node::places::Place;
use crate::node::registry::{Accounting, Registry};
use crate::node::relief::relieve;
use crate::node::supervisor::{Supervising, SupervisorActor};
use crate::node::{Node, NotAccepting, ShutDown};
use crate::policy::admission::AdmissionLimits;
use crate::policy::trimming::Sample;
use crate::protocol::closing_handshake::Input;
use crate::relay::Waiting;
use crate::runtime::tasks::{Owned, Task};
use crate::settings::{ConnectionSettings, Records};
use crate::transport::bind::{self, Arrivals};
use crate::vocabulary::{
    BackendStatus, Cause, Census, ConnectionId, ConnectionName, DrainProgress, Ending, Event,
    HttpCensus, ListenAddress, Message, Origin, Published, Requester, Selector,
};

/// How long the end of a supervisor waits for the last endings to be told: for longer than a ledger
/// takes to find its disk stalled, as shipped.
const LEDGER_PATIENCE: Duration = Duration::from_secs(10);

/// A supervisor actor and what it shares with its connections.
pub(crate) struct Core {
    node: Arc<Node>,
    handshake_timeout: Duration,
    records: Records,
    max_connections: u64,
    drains: Arc<Jobs>,
    /// The drain that was started and left to itself.
    drainer: Mutex<JoinSet<DrainReport>>,
    budget: Arc<MemoryBudget>,
    /// Frees memory when it is used up.
    _relief: Owned,
    relays: Relays,
    listeners: Listeners,
}

/// What a core is made of.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) observer: Option<Observer>,
    pub(crate) ending_backlog: usize,
    pub(crate) memory: u64,
    pub(crate) admission: AdmissionLimits,
    pub(crate) handshake_timeout: Duration,
    pub(crate) records: Records,
}

/// Why a core could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotStarted {
    #[error(transparent)]
    Actor(#[from] ractor::SpawnErr),
    #[error("the system has no thread for its observer ({0})")]
    Observer(std::io::Error),
}

impl Core {
    pub(crate) async fn start(parts: Parts) -> Result<Self, NotStarted> {
        let name: Arc<str> = parts.name.into();
        let registry = Arc::new(Registry::default());
        let readers = EndingReaders::new(parts.ending_backlog);
        let publisher =
            Publisher::new(Arc::clone(&registry), parts.ledger, parts.observer, readers)
                .map_err(NotStarted::Observer)?;
        let budget = Arc::new(MemoryBudget::new(parts.memory));
        let supervising = Supervising::new(
            Arc::clone(&name),
            Arc::clone(&registry),
            Arc::clone(&publisher),
            Arc::clone(&budget),
        );
        let (supervisor, _task) =
            SupervisorActor::spawn(None, SupervisorActor, supervising).await?;
        let (of_all, connections) = (Arc::clone(&budget), Arc::clone(&registry));
        let relief = Owned::spawn(async move {
            let mut task = Task::new("relief of memory");
            task.keep(|| relieve(Arc::clone(&of_all), Arc::clone(&connections))).await;
        });
        let node = Node::new(name, registry, publisher, parts.admission, supervisor);
        Ok(Self {
            node: Arc::new(node),
            handshake_timeout: parts.handshake_timeout,
            records: parts.records,
            max_connections: parts.admission.max_connections,
            drains: Arc::default(),
            drainer: Mutex::default(),
            budget,
            _relief: relief,
            relays: Relays::default(),
            listeners: Listeners::default(),
        })
    }

    pub(crate) fn listen(
        &self,
        name: &str,
        address: &ListenAddress,
        routes: Vec<Route>,
    ) -> Result<ListenerHandle, ListenError> {
        let entered = routes.clone();
        let listener = Listener {
            name: name.to_owned(),
            node: Arc::clone(&self.node),
            routes,
            timeout: self.handshake_timeout,
            records: self.records.clone(),
            max_connections: self.max_connections,
            budget: Arc::clone(&self.budget),
        };
        let handle = self.listeners.start(listener, || {
            let acceptor = bind::bind(address)?;
            let address = acceptor.local_addr().unwrap_or_else(|_| address.clone());
            Ok((Arrivals::new(acceptor), address))
        })?;
        entered.iter().for_each(|route| self.relays.enter(route));
        Ok(handle)
    }

    /// Takes a place for a connection that was dialled.
    pub(crate) fn place_of_dialled(&self) -> Place {
        self.node.place_of_dialled()
    }

    pub(crate) async fn adopt(&self, adoption: Adoption) -> Result<ConnectionHandle, ShutDown> {
        self.node.adopt(adoption).await
    }

    /// Takes over a feed together with the application that waits for it.
    pub(crate) async fn adopt_feed(
        &self,
        feed: Adoption,
        application: Waiting,
        injects: bool,
        first: Vec<Message>,
    ) -> Result<ConnectionHandle, ShutDown> {
        let (adopted, handle) = oneshot::channel();
        let place = self.node.place_of_dialled();
        self.node.adopt_pair(application.pair(feed, injects, first, adopted, place))?;
        handle.await.map_err(|_| ShutDown)
    }

    /// Closes the connection to an application whose feed could not be opened, as one of its own.
    pub(crate) fn dismiss(
        &self,
        application: Waiting,
        feed: &Origin,
        settings: &ConnectionSettings,
        reason: &str,
    ) {
        let application = application.alone(feed, settings, self.node.place_of_dialled());
        self.node.dismiss(application, reason);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.node.is_draining()
    }

    pub(crate) fn not_accepting(&self) -> Option<NotAccepting> {
        self.node.not_accepting()
    }

    /// Returns a way to hear when [`Core::is_draining`] changes.
    pub(crate) fn draining(&self) -> watch::Receiver<Option<NotAccepting>> {
        self.node.draining()
    }

    /// Tells of what the ledger need not hear.
    pub(crate) fn announce(&self, event: Event) {
        self.node.publisher.announce(event);
    }

    pub(crate) fn record_attempt(&self, attempt: Attempt) {
        self.node.record_attempt(attempt);
    }

    pub(crate) async fn record_attempt_durably(&self, attempt: Attempt) -> Arc<Ending> {
        self.node.record_attempt_durably(attempt).await
    }

    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    pub(crate) fn connection(&self, id: ConnectionId) -> Option<ConnectionHandle> {
        self.node.registry.get(id).map(ConnectionHandle::new)
    }

    pub(crate) fn find(&self, name: ConnectionName) -> Option<ConnectionHandle> {
        match name {
            ConnectionName::Id(id) => self.connection(id),
            ConnectionName::Short(_) => {
                self.connections().into_iter().find(|connection| name.names(connection.id()))
            }
        }
    }

    pub(crate) fn ledger_health(&self) -> Health {
        self.node.publisher.ledger().health()
    }

    pub(crate) fn ledger_lag(&self) -> Duration {
        self.node.publisher.ledger().lag()
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.node.name
    }

    pub(crate) fn connections(&self) -> Vec<ConnectionHandle> {
        self.node.registry.all().into_iter().map(ConnectionHandle::new).collect()
    }

    pub(crate) fn broadcast(
        &self,
        message: Message,
        select: impl Fn(&Origin) -> bool,
    ) -> BroadcastReport {
        let mut selected = self.node.registry.oldest_first();
        selected.retain(|connection| select(&connection.origin));
        send_to_all(selected, message)
    }

    pub(crate) fn accounting(&self) -> Accounting {
        self.node.registry.accounting()
    }

    pub(crate) fn census(&self) -> Census {
        Census {
            memory_used: self.budget.used(),
            memory_limit: self.budget.limit(),
            ..self.node.registry.census()
        }
    }

    pub(crate) fn http(&self) -> HttpCensus {
        self.node.plain.census()
    }

    /// Takes a look at what connections and attempts take.
    pub(crate) fn look_at_memory(&self) -> Sample {
        Sample {
            open: self.accounting().open,
            charged: self.budget.used(),
            peak: self.budget.take_peak(),
            attempts: self.budget.attempted(),
        }
    }

    pub(crate) fn subscribe(&self) -> (broadcast::Receiver<Published>, Option<u64>) {
        self.node.publisher.subscribe()
    }

    pub(crate) fn endings(&self) -> Arc<EndingQueue> {
        self.node.publisher.endings()
    }

    pub(crate) fn refuse_new(&self) {
        self.node.refuse_new(NotAccepting::Asked);
    }

    /// Refuses new connections for good: the supervisor is about to end.
    pub(crate) fn begin_stop(&self) {
        self.node.refuse_new(NotAccepting::Stopping);
    }

    pub(crate) async fn drain(&self, options: DrainOptions) -> DrainReport {
        let job = self.drains.take_over(options);
        drain::drain(&self.node, &self.drains, drain::prepare(&self.node, job)).await
    }

    pub(crate) fn start_drain(
        &self,
        options: DrainOptions,
    ) -> Result<Arc<DrainProgress>, DrainUnderWay> {
        let job = self.drains.begin(options)?;
        let prepared = drain::prepare(&self.node, Arc::clone(&job));
        let progress = job.progress(&self.node.registry);
        let (node, drains) = (Arc::clone(&self.node), Arc::clone(&self.drains));
        let mut drainer = self.drainer.lock().unwrap_or_else(PoisonError::into_inner);
        // The one before is over, or this one would not have begun.
        *drainer = JoinSet::new();
        drainer.spawn(async move { drain::drain(&node, &drains, prepared).await });
        Ok(Arc::new(progress))
    }

    pub(crate) fn backends(&self) -> Vec<BackendStatus> {
        self.relays.statuses()
    }

    /// Sends no new clients to an application, and closes those that it has.
    pub(crate) fn drain_backend(
        &self,
        route: &str,
        number: usize,
        options: DrainOptions,
    ) -> Result<Arc<DrainProgress>, DrainBackendError> {
        let entry = self.relays.get(route)?;
        let was_draining = entry.drain(number)?;
        let select = Selector {
            route: Some(route.to_owned()),
            upstream: entry.url(number),
            upstream_number: Some(number),
            ..Selector::default()
        };
        self.start_drain(DrainOptions { select, ..options }).map_err(|error| {
            if !was_draining {
                // There is such an application: it was just found.
                let _ = entry.resume(number);
            }
            error.into()
        })
    }

    pub(crate) fn resume_backend(&self, route: &str, number: usize) -> Result<(), NoBackend> {
        Ok(self.relays.get(route)?.resume(number)?)
    }

    pub(crate) fn cancel_drain(&self) -> Option<Arc<DrainProgress>> {
        self.drains.cancel(&self.node).map(Arc::new)
    }

    pub(crate) fn drain_progress(&self) -> Option<Arc<DrainProgress>> {
        self.drains.progress(&self.node.registry).map(Arc::new)
    }

    pub(crate) fn abort_all(&self, by: Option<Requester>) {
        self.node.refuse_new(NotAccepting::Asked);
        for connection in self.node.registry.all() {
            let input = Input::Abort { cause: Cause::Drain, by: by.clone() };
            connection.report(input);
        }
    }

    /// Waits until the supervisor's actor has ended, as it does when it is stopped, or dies.
    pub(crate) async fn gone(&self) {
        // Without a timeout there is no error.
        let _ = self.node.supervisor.wait(None).await;
    }

    /// Lets nothing new begin: from now on it is shut down.
    pub(crate) fn shut(&self) {
        self.node.shut();
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.node.is_shut()
    }

    pub(crate) async fn stop(&self) {
        // Whoever is still in the opening handshake is cut off, and recorded.
        self.listeners.close().await;
        let actor: &ActorRef<SupervisorMessage> = &self.node.supervisor;
        // An error says that it has ended already.
        let _ = actor.cast(SupervisorMessage::Stop);
        let patience = Some(Duration::from_secs(5));
        if actor.wait(patience).await.is_err() {
            // A handler that never lets its thread go; its connection gets its ending all the same.
            let _ = actor.stop_and_wait(None, patience).await;
        }
        // The last endings are with the ledger, which bounds its own waits.
        let _ = tokio::time::timeout(LEDGER_PATIENCE, self.node.publisher.none_open()).await;
        self.node.publisher.observed().await;
        self.node.publisher.end();
    }
}

#[cfg(test)]
impl Core {
    /// Returns the supervisor's actor, so that tests can kill it.
    pub(crate) fn supervisor(&self) -> &ActorRef<SupervisorMessage> {
        &self.node.supervisor
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.begin_stop();
        let _ = self.node.supervisor.cast(SupervisorMessage::Stop);
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("accounting", &self.accounting()).finish_non_exhaustive()
    }
}
