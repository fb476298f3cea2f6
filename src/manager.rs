//! The public library: a supervisor of connections, whoever opened them.
//!
//! ```
//! use lastword::{Incoming, Route, Supervisor};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let supervisor = Supervisor::builder().start().await?;
//! let routes = vec![Route::echo("/echo")?];
//! let listener = supervisor.listen("public", &"127.0.0.1:0".parse()?, routes).await?;
//!
//! let url = format!("ws://{}/echo", listener.address());
//! let (connection, mut messages) = supervisor.dial(&url).receive().await?;
//! connection.send("hello").await?;
//! assert_eq!(messages.receive().await?, Incoming::Message("hello".into()));
//!
//! let ending = connection.close(1000, "bye")?.await;
//! assert!(ending.is_clean());
//! # supervisor.shutdown(Default::default()).await;
//! # Ok(())
//! # }
//! ```

mod adopting;
mod builder;
mod dialers;
mod dialling;
mod relays;
mod streams;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use tokio::task::JoinSet;

pub use crate::actor::backend::{
    Backend, CloseReply, Handler, HandlerFailure, ReceiveError, Receiver,
};
pub use crate::connection::handle::{ConnectionHandle, SendError, TrySendError};
pub use crate::connection::inbox::Incoming;
pub use crate::draining::options::{DrainOptions, DrainReport, DrainUnderWay};
pub use crate::listening::listener::{ListenError, ListenerHandle};
pub use crate::listening::route::{Accept, OpeningRequest, Refuse, Route};
pub use crate::node::broadcast::BroadcastReport;
pub use crate::node::endings::MissedEndings;
pub use crate::node::registry::Accounting;
pub use crate::node::{NotAccepting, ShutDown};
pub use crate::relay::opening::Relay;
pub use adopting::{Adopt, Upgrade, UpgradeRefused};
pub use builder::{Builder, StartError};
pub use dialers::{DialerHandle, DialerOptions, KeepError};
pub use dialling::{Dial, DialError};
pub use relays::{DrainBackendError, NoBackend};
pub use streams::{EndingStream, EventStream};

use crate::connection::budget::MemoryBudget;
use crate::draining::drain;
use crate::draining::job::Jobs;
use crate::ledger::Health;
use crate::listening::listener::{Listener, Listeners};
use crate::node::Node;
use crate::node::adoption::Adoption;
use crate::node::adoption::SupervisorMessage;
use crate::node::broadcast::send_to_all;
use crate::policy::trimming::Sample;
use crate::protocol::closing_handshake::Input;
use crate::protocol::closing_handshake::ReplyPolicy;
use crate::runtime::tasks::Owned;
use crate::transport::bind::{self, Arrivals};
use crate::vocabulary::{
    BackendStatus, Census, ConnectionId, ConnectionName, DialerStatus, DrainProgress, HttpCensus,
    ListenAddress, Message, Origin, Requester,
};
use crate::vocabulary::{Cause, Selector};
use dialers::Dialers;
use relays::Relays;

/// How long the end of a supervisor waits for the last endings to be told: for longer than a ledger
/// takes to find its disk stalled, as shipped.
const LEDGER_PATIENCE: Duration = Duration::from_secs(10);

/// Owns connections, inbound and outbound, one supervised actor each.
///
/// Cloning is cheap: all clones are the same supervisor. It works until [`Supervisor::shutdown`].
/// Dropping the last clone stops its listeners and aborts what is still open, since nobody is left to
/// answer for it: each connection gets its ending (`aborted`, cause `embedder`). Close what should end
/// well before, or shut down.
#[derive(Debug, Clone)]
pub struct Supervisor {
    inner: Arc<Inner>,
    /// The tasks of its dialers end with the last clone.
    dialers: Arc<Dialers>,
}

/// What the clones of a supervisor and its dials share.
struct Inner {
    node: Arc<Node>,
    handshake_timeout: Duration,
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

impl Supervisor {
    /// Listens on an address; the first route that matches takes a connection.
    ///
    /// The supervisor owns the listener: it accepts until [`ListenerHandle::stop`] or
    /// [`Supervisor::shutdown`], whatever becomes of the handle.
    ///
    /// # Errors
    /// Why the address cannot be bound, or [`ShutDown`]; nothing is left behind.
    pub async fn listen(
        &self,
        name: &str,
        address: &ListenAddress,
        routes: Vec<Route>,
    ) -> Result<ListenerHandle, ListenError> {
        let entered = routes.clone();
        let listener = Listener {
            name: name.to_owned(),
            node: Arc::clone(&self.inner.node),
            routes,
            timeout: self.inner.handshake_timeout,
            records: self.inner.node.records.clone(),
            max_connections: self.inner.max_connections,
            budget: Arc::clone(&self.inner.budget),
        };
        let handle = self.inner.listeners.start(listener, || {
            let acceptor = bind::bind(address)?;
            let address = acceptor.local_addr().unwrap_or_else(|_| address.clone());
            Ok((Arrivals::new(acceptor), address))
        })?;
        entered.iter().for_each(|route| self.inner.relays.enter(route));
        Ok(handle)
    }

    /// Takes over a connection, with a backend for its messages; see [`Upgrade`] for those that
    /// another HTTP server has accepted.
    ///
    /// # Errors
    /// [`ShutDown`], after [`Supervisor::shutdown`].
    pub async fn adopt(
        &self,
        adopt: Adopt,
        backend: Backend,
    ) -> Result<ConnectionHandle, ShutDown> {
        let Adopt { transport, read_ahead, role, mut origin, settings } = adopt;
        origin.backend.get_or_insert_with(|| backend.name().to_owned());
        let adoption = Adoption {
            id: ConnectionId::new(),
            transport,
            read_ahead,
            role,
            origin: Arc::new(origin),
            settings: Arc::new(settings.bounded()),
            backend,
            slot: None,
        };
        self.inner.node.adopt(adoption).await
    }

    /// Takes over a connection whose messages are taken from a [`Receiver`].
    ///
    /// The peer's Close is answered at once, in kind.
    ///
    /// # Errors
    /// As [`Supervisor::adopt`].
    pub async fn adopt_receiving(
        &self,
        adopt: Adopt,
    ) -> Result<(ConnectionHandle, Receiver), ShutDown> {
        let connection = self.adopt(adopt, Backend::receiver(ReplyPolicy::AtOnce)).await?;
        let receiver = Receiver::of(&connection);
        Ok((connection, receiver))
    }

    /// Takes over a connection whose messages are taken from a [`Receiver`], and whose peer's Close
    /// is answered by [`ConnectionHandle::close_output`], within `close.timeout`.
    ///
    /// # Errors
    /// As [`Supervisor::adopt`].
    pub async fn adopt_replying(
        &self,
        adopt: Adopt,
    ) -> Result<(ConnectionHandle, Receiver), ShutDown> {
        let connection = self.adopt(adopt, Backend::receiver(ReplyPolicy::Chosen)).await?;
        let receiver = Receiver::of(&connection);
        Ok((connection, receiver))
    }

    /// Keeps an outbound connection alive: dials, and dials again as its endings advise.
    ///
    /// # Errors
    /// A name that is taken, a URL that cannot be dialled, or [`ShutDown`].
    pub fn keep(&self, options: DialerOptions) -> Result<DialerHandle, KeepError> {
        self.dialers.keep(&self.inner.node, options)
    }

    /// Returns a dialer by its name.
    pub fn dialer(&self, name: &str) -> Option<DialerHandle> {
        self.dialers.get(name)
    }

    /// Forgets a dialer: it stops dialling, and what is open is closed with 1000. Its name is free at
    /// once. Returns `false` if it was removed before.
    pub fn remove_dialer(&self, dialer: &DialerHandle, by: Option<Requester>) -> bool {
        self.dialers.remove(dialer, by)
    }

    /// Returns how all dialers fare, by their names.
    pub fn dialers(&self) -> Vec<DialerStatus> {
        self.dialers.all()
    }

    /// Returns a connection that is open.
    pub fn connection(&self, id: ConnectionId) -> Option<ConnectionHandle> {
        self.inner.node.registry.get(id).map(ConnectionHandle::new)
    }

    /// Returns a connection that is open, by its id or by the last 12 digits of it.
    pub fn find(&self, name: ConnectionName) -> Option<ConnectionHandle> {
        match name {
            ConnectionName::Id(id) => self.connection(id),
            ConnectionName::Short(_) => {
                self.connections().into_iter().find(|connection| name.names(connection.id()))
            }
        }
    }

    /// Returns the name of the node.
    pub fn node(&self) -> &str {
        &self.inner.node.name
    }

    /// Returns how the ledger fares.
    pub fn ledger_health(&self) -> Health {
        self.inner.node.publisher.ledger().health()
    }

    /// Returns for how long the oldest entry that is not yet durable has been waiting.
    pub fn ledger_lag(&self) -> Duration {
        self.inner.node.publisher.ledger().lag()
    }

    /// Tells whether new connections are refused, because it drains or is about to stop.
    pub fn is_draining(&self) -> bool {
        self.inner.node.is_draining()
    }

    /// Returns why new connections are refused, if they are.
    pub fn not_accepting(&self) -> Option<NotAccepting> {
        self.inner.node.not_accepting()
    }

    /// Returns all connections that are open.
    pub fn connections(&self) -> Vec<ConnectionHandle> {
        self.inner.node.registry.all().into_iter().map(ConnectionHandle::new).collect()
    }

    /// Sends one message to all connections that `select` says yes to.
    ///
    /// It waits for no peer: a connection whose outbox is full does as its `limits.on_full` says.
    /// Where nothing waits before it, the message is written from here, without waking anybody;
    /// threads of the runtime take their share of thousands of connections.
    pub fn broadcast(
        &self,
        message: impl Into<Message>,
        select: impl Fn(&Origin) -> bool,
    ) -> BroadcastReport {
        let mut selected = self.inner.node.registry.oldest_first();
        selected.retain(|connection| select(&connection.origin));
        send_to_all(selected, message.into())
    }

    /// Returns the books: opened = open + ended, at every instant.
    pub fn accounting(&self) -> Accounting {
        self.inner.node.registry.accounting()
    }

    /// Counts all connections by direction, route, state and ending; each line of it balances.
    ///
    /// It looks at every connection: 5 to 15 ms where there are 20,000, in which others come and go
    /// freely. Do not call it where messages are moved.
    pub fn census(&self) -> Census {
        Census {
            memory_used: self.inner.budget.used(),
            memory_limit: self.inner.budget.limit(),
            ..self.inner.node.registry.census()
        }
    }

    /// Counts the plain HTTP that is passed on to applications.
    pub fn http(&self) -> HttpCensus {
        self.inner.node.plain.census()
    }

    /// Takes a look at what connections and attempts take; peaks are told once.
    pub(crate) fn look_at_memory(&self) -> Sample {
        Sample {
            open: self.accounting().open,
            charged: self.inner.budget.used(),
            peak: self.inner.budget.take_peak(),
            attempts: self.inner.budget.attempted(),
        }
    }

    /// Returns the events from now on.
    pub fn events(&self) -> EventStream {
        EventStream::new(self.inner.node.publisher.subscribe())
    }

    /// Returns the endings from now on, failed attempts included; it loses none silently, and ends when
    /// the supervisor has shut down.
    pub fn endings(&self) -> EndingStream {
        EndingStream::new(self.inner.node.publisher.endings())
    }

    /// Refuses new connections from now on, with 503; the open ones go on.
    pub fn refuse_new(&self) {
        self.inner.node.refuse_new(NotAccepting::Asked);
    }

    /// Refuses new connections and closes all that are open, paced, within a bounded time.
    ///
    /// # Cancel safety
    /// Dropped, it closes no further connections; those that were asked close all the same.
    pub async fn drain(&self, options: DrainOptions) -> DrainReport {
        let job = self.inner.drains.take_over(options);
        drain::drain(&self.inner.node, &self.inner.drains, drain::prepare(&self.inner.node, job))
            .await
    }

    /// Begins a drain and returns at once; it goes on by itself.
    ///
    /// One of all connections refuses new ones while it runs, and with [`DrainOptions::stay`] also
    /// once it has finished, until it is cancelled. One of a selection leaves those alone that come
    /// while it runs.
    ///
    /// # Errors
    /// [`DrainUnderWay`]: there is one at a time.
    pub fn start_drain(&self, options: DrainOptions) -> Result<Arc<DrainProgress>, DrainUnderWay> {
        let job = self.inner.drains.begin(options)?;
        let prepared = drain::prepare(&self.inner.node, Arc::clone(&job));
        let progress = job.progress(&self.inner.node.registry);
        let (node, drains) = (Arc::clone(&self.inner.node), Arc::clone(&self.inner.drains));
        let mut drainer = self.inner.drainer.lock();
        // The one before is over, or this one would not have begun.
        *drainer = JoinSet::new();
        drainer.spawn(async move { drain::drain(&node, &drains, prepared).await });
        Ok(Arc::new(progress))
    }

    /// Returns how the applications behind relays fare, by the names of their routes.
    pub fn backends(&self) -> Vec<BackendStatus> {
        self.inner.relays.statuses()
    }

    /// Sends no new clients to an application of a route, the `number`th from 0, and drains those
    /// that it has, as [`Supervisor::start_drain`] does; `options.select` is not looked at. It gets
    /// no new clients until it is resumed.
    ///
    /// # Errors
    /// There is no such application, or another drain is under way; then nothing has changed.
    pub fn drain_backend(
        &self,
        route: &str,
        number: usize,
        options: DrainOptions,
    ) -> Result<Arc<DrainProgress>, DrainBackendError> {
        let entry = self.inner.relays.get(route)?;
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

    /// Sends new clients to an application again, as if it had never failed. A drain that closes
    /// its clients goes on.
    ///
    /// # Errors
    /// There is no such application.
    pub fn resume_backend(&self, route: &str, number: usize) -> Result<(), NoBackend> {
        Ok(self.inner.relays.get(route)?.resume(number)?)
    }

    /// Returns how far the drain is that runs, or what the last one came to.
    pub fn drain_progress(&self) -> Option<Arc<DrainProgress>> {
        self.inner.drains.progress(&self.inner.node.registry).map(Arc::new)
    }

    /// Calls off the drain that runs: it closes no further connections; those that were asked close
    /// all the same. New connections are accepted again, also after a drain that has finished and
    /// was asked to stay.
    ///
    /// Returns `None` if there is nothing to call off; what a signal began goes on.
    pub fn cancel_drain(&self) -> Option<Arc<DrainProgress>> {
        self.inner.drains.cancel(&self.inner.node).map(Arc::new)
    }

    /// Waits until it has ended: it was shut down, or its actor died, and every connection with it.
    /// Cancel safe.
    pub async fn gone(&self) {
        // Without a timeout there is no error.
        let _ = self.inner.node.supervisor.wait(None).await;
    }

    /// Aborts all connections, as a second signal does.
    pub fn abort_all(&self, by: Option<Requester>) {
        self.inner.node.refuse_new(NotAccepting::Asked);
        for connection in self.inner.node.registry.all() {
            let input = Input::Abort { cause: Cause::Drain, by: by.clone() };
            connection.report(input);
        }
    }

    /// Drains, then ends the supervisor itself, its listeners and its dialers.
    ///
    /// After that [`Supervisor::dial`], [`Supervisor::keep`], [`Supervisor::listen`] and
    /// [`Supervisor::adopt`] fail with [`ShutDown`].
    pub async fn shutdown(&self, options: DrainOptions) -> DrainReport {
        self.inner.begin_stop();
        let report = self.drain(options).await;
        self.inner.node.shut();
        self.dialers.end().await;
        self.stop().await;
        report
    }

    /// Ends the listeners and the supervisor's actor, and waits until the last endings are recorded.
    async fn stop(&self) {
        // Whoever is still in the opening handshake is cut off, and recorded.
        self.inner.listeners.close().await;
        let actor = &self.inner.node.supervisor;
        // An error says that it has ended already.
        let _ = actor.cast(SupervisorMessage::Stop);
        let patience = Some(Duration::from_secs(5));
        if actor.wait(patience).await.is_err() {
            // A handler that never lets its thread go; its connection gets its ending all the same.
            let _ = actor.stop_and_wait(None, patience).await;
        }
        // The last endings are with the ledger, which bounds its own waits.
        let _ = tokio::time::timeout(LEDGER_PATIENCE, self.inner.node.publisher.none_open()).await;
        self.inner.node.publisher.observed().await;
        self.inner.node.publisher.end();
    }
}

impl Inner {
    /// Refuses new connections for good: the supervisor is about to end.
    fn begin_stop(&self) {
        self.node.refuse_new(NotAccepting::Stopping);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.begin_stop();
        let _ = self.node.supervisor.cast(SupervisorMessage::Stop);
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let accounting = self.node.registry.accounting();
        f.debug_struct("Inner").field("accounting", &accounting).finish_non_exhaustive()
    }
}
