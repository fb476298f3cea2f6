//! The public library: a supervisor of inbound and outbound connections.
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

mod admissions;
mod adopting;
mod builder;
mod dialers;
mod dialling;
mod listening;
mod living;
mod relays;
mod revoking;
mod streams;
mod tuning;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Weak};
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
pub use admissions::RenewError;
pub use adopting::{Adopt, Upgrade, UpgradeRefused};
pub use builder::{Builder, StartError};
pub use dialers::{DialerHandle, DialerOptions, KeepError};
pub use dialling::{Dial, DialError};
pub use listening::ListenOptions;
pub use relays::{DrainBackendError, NoBackend};
pub use revoking::{Revoke, RevokeError, Revoked};
pub use streams::{EndingStream, EventStream};

use crate::connection::budget::MemoryBudget;
use crate::draining::drain;
use crate::draining::job::Jobs;
use crate::ledger::Health;
use crate::listening::listener::{Listener, Listeners};
use crate::node::Node;
use crate::node::adoption::{Adoption, SupervisorMessage};
use crate::node::broadcast::send_to_all;
use crate::node::subjects::Replacing;
use crate::policy::trimming::Sample;
use crate::protocol::closing_handshake::{Input, ReplyPolicy};
use crate::runtime::tasks::Owned;
use crate::transport::bind::{self, Acceptor, BindError};
use crate::vocabulary::{
    BackendStatus, Cause, Census, ConnectionId, ConnectionName, DialerStatus, DrainProgress,
    HttpCensus, ListenAddress, Message, Origin, Requester, Secret, Selector,
};
use admissions::Admissions;
use dialers::Dialers;
use relays::Relays;

/// How long a shutdown waits for the last endings to be published: longer than the ledger takes, by
/// default, to detect a stalled disk.
const LEDGER_PATIENCE: Duration = Duration::from_secs(10);

/// Owns connections, inbound and outbound, one supervised actor each.
///
/// Cloning is cheap: all clones refer to the same supervisor, which runs until
/// [`Supervisor::shutdown`]. Dropping the last clone stops the listeners and aborts the open
/// connections (`aborted`, cause `embedder`); for a clean end, call `shutdown` first.
#[derive(Debug, Clone)]
pub struct Supervisor {
    inner: Arc<Inner>,
    /// The tasks of the dialers, which end with the last clone.
    dialers: Arc<Dialers>,
}

/// The state that the clones of a supervisor and its dials share.
struct Inner {
    node: Arc<Node>,
    drains: Arc<Jobs>,
    /// The drain that runs in the background.
    drainer: Mutex<JoinSet<DrainReport>>,
    budget: Arc<MemoryBudget>,
    /// Frees memory when it is used up.
    _relief: Owned,
    /// Reads the revocations that the ledger has recorded, where it could not be read at the start.
    _restoring: Option<Owned>,
    relays: Relays,
    admissions: Admissions,
    listeners: Listeners,
}

impl Supervisor {
    /// Listens on an address and serves each client by the first route that matches.
    ///
    /// The supervisor owns the listener, which accepts until [`ListenerHandle::stop`] or
    /// [`Supervisor::shutdown`], even if the handle is dropped.
    ///
    /// # Errors
    /// The address cannot be bound, or the supervisor was shut down.
    pub async fn listen(
        &self,
        name: &str,
        address: &ListenAddress,
        routes: Vec<Route>,
    ) -> Result<ListenerHandle, ListenError> {
        self.listen_with(name, address, ListenOptions::default(), routes).await
    }

    /// Listens as [`Supervisor::listen`] does, with options such as TLS.
    ///
    /// # Errors
    /// The address cannot be bound, the files of TLS cannot be used, or the supervisor was shut down.
    pub async fn listen_with(
        &self,
        name: &str,
        address: &ListenAddress,
        mut options: ListenOptions,
        routes: Vec<Route>,
    ) -> Result<ListenerHandle, ListenError> {
        let tls = options.resolve_tls(name, address).await?;
        let options = options.loaded_tls(tls);
        self.serve(name, || bind::bind(address), options, routes)
    }

    /// Listens as [`Supervisor::listen_with`] does on what `bind` binds, with certificates that were
    /// read already.
    pub(crate) fn serve(
        &self,
        name: &str,
        bind: impl FnOnce() -> Result<Acceptor, BindError>,
        options: ListenOptions,
        routes: Vec<Route>,
    ) -> Result<ListenerHandle, ListenError> {
        let (tls, proxies) = options.loaded();
        let entered = routes.clone();
        let mut listener = Listener {
            name: name.to_owned(),
            node: Arc::clone(&self.inner.node),
            routes: [].into(),
            budget: Arc::clone(&self.inner.budget),
            tls,
            token_parameters: Vec::new(),
            proxies,
            latest: Weak::new(),
        };
        listener.set_routes(routes);
        let handle = self.inner.listeners.start(listener, bind)?;
        self.enter(&entered);
        Ok(handle)
    }

    /// Makes the relays and admissions of routes known by their names.
    fn enter(&self, routes: &[Route]) {
        for route in routes {
            self.inner.relays.enter(route);
            self.inner.admissions.enter(route);
        }
    }

    /// Replaces the routes of a listener, for what opens from now on: each opening handshake under way
    /// keeps the routes that it began with, and open connections keep their settings.
    ///
    /// A route replaces the one of the same name where routes are named, as in
    /// [`Supervisor::drain_backend`].
    pub fn set_routes(&self, listener: &ListenerHandle, routes: Vec<Route>) {
        self.enter(&routes);
        listener.change(|listener| listener.set_routes(routes));
    }

    /// Replaces the routes of a listener, its certificates and the proxies in front of it in one step.
    pub(crate) fn change_listener(
        &self,
        listener: &ListenerHandle,
        options: ListenOptions,
        routes: Vec<Route>,
    ) {
        self.enter(&routes);
        let (tls, proxies) = options.loaded();
        listener.change(|listener| {
            listener.set_routes(routes);
            (listener.tls, listener.proxies) = (tls, proxies);
        });
    }

    /// Changes the options of a dialer; with `renew` its connection is replaced by one that has them,
    /// else they hold for those that come next. Returns `false` if there is no dialer of this name.
    ///
    /// # Errors
    /// The URL, or that of the application, is invalid.
    pub(crate) fn change_dialer(
        &self,
        options: DialerOptions,
        renew: bool,
    ) -> Result<bool, KeepError> {
        self.dialers.change(options, renew)
    }

    /// Adopts a connection whose opening handshake is complete, and serves it with a backend.
    ///
    /// See [`Upgrade`] for connections that another HTTP server has accepted.
    ///
    /// # Errors
    /// The supervisor was shut down.
    pub async fn adopt(
        &self,
        adopt: Adopt,
        backend: Backend,
    ) -> Result<ConnectionHandle, ShutDown> {
        let Adopt { transport, read_ahead, role, mut origin, settings, replace } = adopt;
        origin.backend.get_or_insert_with(|| backend.name().to_owned());
        let adoption = Adoption {
            id: ConnectionId::new(),
            transport,
            read_ahead,
            role,
            origin: Arc::new(origin),
            settings: Arc::new(settings.bounded()),
            backend,
            grant: None,
            replacing: Replacing { rule: replace, turn: self.inner.node.registry.next_turn() },
            slot: None,
        };
        self.inner.node.adopt(adoption).await
    }

    /// Adopts a connection and returns a [`Receiver`] of its messages.
    ///
    /// The peer's Close is answered at once with the same code.
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

    /// Adopts a connection and returns a [`Receiver`] of its messages; the caller answers the
    /// peer's Close with [`ConnectionHandle::close_output`], within `close.timeout`.
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

    /// Starts a dialer, which keeps an outbound connection open and reconnects as the endings
    /// advise.
    ///
    /// # Errors
    /// The name is taken, the URL is invalid, or the supervisor was shut down.
    pub fn keep(&self, options: DialerOptions) -> Result<DialerHandle, KeepError> {
        self.dialers.keep(&self.inner.node, options)
    }

    /// Returns the dialer with this name.
    pub fn dialer(&self, name: &str) -> Option<DialerHandle> {
        self.dialers.get(name)
    }

    /// Removes a dialer, which stops dialling and closes its connection with 1000.
    ///
    /// Its name is free at once. Returns `false` if the dialer was removed before.
    pub fn remove_dialer(&self, dialer: &DialerHandle, by: Option<Requester>) -> bool {
        self.dialers.remove(dialer, by)
    }

    /// Returns the status of all dialers, ordered by name.
    pub fn dialers(&self) -> Vec<DialerStatus> {
        self.dialers.all()
    }

    /// Returns the open connection with this id.
    pub fn connection(&self, id: ConnectionId) -> Option<ConnectionHandle> {
        self.inner.node.registry.get(id).map(ConnectionHandle::new)
    }

    /// Returns the open connection with this id, or with these last 12 digits of its id.
    pub fn find(&self, name: ConnectionName) -> Option<ConnectionHandle> {
        match name {
            ConnectionName::Id(id) => self.connection(id),
            ConnectionName::Short(_) => {
                self.connections().into_iter().find(|connection| name.names(connection.id()))
            }
        }
    }

    /// Checks a new token of a connection as the token at its opening was checked. If it is good and of
    /// the same subject, the connection lives as long as it.
    ///
    /// # Errors
    /// Nothing has changed.
    pub async fn renew_token(
        &self,
        connection: &ConnectionHandle,
        token: &Secret,
    ) -> Result<(), RenewError> {
        self.inner.admissions.renew(&self.inner.node, connection, token.expose()).await
    }

    /// Returns the name of the node.
    pub fn node(&self) -> &str {
        &self.inner.node.name
    }

    /// Returns the health of the ledger.
    pub fn ledger_health(&self) -> Health {
        self.inner.node.publisher.ledger().health()
    }

    /// Returns the age of the oldest ledger entry that is not durable yet.
    pub fn ledger_lag(&self) -> Duration {
        self.inner.node.publisher.ledger().lag()
    }

    /// Returns whether new connections are refused, because of a drain or a shutdown.
    pub fn is_draining(&self) -> bool {
        self.inner.node.is_draining()
    }

    /// Returns why new connections are refused, if they are.
    pub fn not_accepting(&self) -> Option<NotAccepting> {
        self.inner.node.not_accepting()
    }

    /// Returns all open connections.
    pub fn connections(&self) -> Vec<ConnectionHandle> {
        self.inner.node.registry.all().into_iter().map(ConnectionHandle::new).collect()
    }

    /// Sends one message to all connections for which `select` returns `true`.
    ///
    /// It never waits for a peer: `limits.on_full` decides what happens where an outbox is full.
    /// Where the outbox is empty, the message is written by the calling thread, without waking a
    /// task; with thousands of connections, the runtime's threads share the work.
    pub fn broadcast(
        &self,
        message: impl Into<Message>,
        select: impl Fn(&Origin) -> bool,
    ) -> BroadcastReport {
        let mut selected = self.inner.node.registry.oldest_first();
        selected.retain(|connection| select(&connection.origin));
        send_to_all(selected, message.into())
    }

    /// Returns the numbers of connections opened, open and ended; opened = open + ended at every
    /// instant.
    pub fn accounting(&self) -> Accounting {
        self.inner.node.registry.accounting()
    }

    /// Counts all connections by direction, route, state and ending; each row balances.
    ///
    /// It visits every connection without blocking others: 20,000 of them take 5 to 15 ms. Do not
    /// call it where messages are processed.
    pub fn census(&self) -> Census {
        Census {
            memory_used: self.inner.budget.used(),
            memory_limit: self.inner.budget.limit(),
            ..self.inner.node.registry.census()
        }
    }

    /// Counts the plain HTTP clients and requests that are proxied to applications.
    pub fn http(&self) -> HttpCensus {
        self.inner.node.plain.census()
    }

    /// Samples the memory that connections and attempts use, and resets the peak. What is resident is
    /// for the program to say.
    pub(crate) fn look_at_memory(&self) -> Sample {
        Sample {
            open: self.accounting().open,
            charged: self.inner.budget.used(),
            peak: self.inner.budget.take_peak(),
            attempts: self.inner.budget.attempted(),
            resident: 0,
        }
    }

    /// Subscribes to events from now on.
    pub fn events(&self) -> EventStream {
        EventStream::new(self.inner.node.publisher.subscribe())
    }

    /// Subscribes to endings from now on, including failed attempts.
    ///
    /// Missed endings are reported, never dropped silently. The stream ends when the supervisor has
    /// shut down.
    pub fn endings(&self) -> EndingStream {
        EndingStream::new(self.inner.node.publisher.endings())
    }

    /// Refuses new connections from now on, with 503; open ones stay open.
    pub fn refuse_new(&self) {
        self.inner.node.refuse_new(NotAccepting::Asked);
    }

    /// Refuses new connections and closes the open ones at a pace, within a time limit.
    ///
    /// It cancels a drain that is under way.
    ///
    /// # Cancel safety
    /// If the future is dropped, no further connection is closed. Those that were sent a Close
    /// still close.
    pub async fn drain(&self, options: DrainOptions) -> DrainReport {
        let job = self.inner.drains.take_over(options);
        drain::drain(&self.inner.node, &self.inner.drains, drain::prepare(&self.inner.node, job))
            .await
    }

    /// Begins a drain that runs in the background.
    ///
    /// A drain of all connections refuses new ones while it runs; with [`DrainOptions::stay`], also
    /// after it has finished, until it is cancelled. A drain of a selection does not touch
    /// connections that open while it runs.
    ///
    /// # Errors
    /// Another drain is under way.
    pub fn start_drain(&self, options: DrainOptions) -> Result<Arc<DrainProgress>, DrainUnderWay> {
        let job = self.inner.drains.begin(options)?;
        let prepared = drain::prepare(&self.inner.node, Arc::clone(&job));
        let progress = job.progress(&self.inner.node);
        let (node, drains) = (Arc::clone(&self.inner.node), Arc::clone(&self.inner.drains));
        let mut drainer = self.inner.drainer.lock();
        // The previous drain is over, or this one would not have begun.
        *drainer = JoinSet::new();
        drainer.spawn(async move { drain::drain(&node, &drains, prepared).await });
        Ok(Arc::new(progress))
    }

    /// Returns the status of the applications behind relays, ordered by route.
    pub fn backends(&self) -> Vec<BackendStatus> {
        self.inner.relays.statuses()
    }

    /// Stops sending new clients to an application, and drains those that it has.
    ///
    /// `number` is its index in the route, from 0. The drain runs as [`Supervisor::start_drain`]
    /// does; `options.select` is ignored. The application gets no new clients until
    /// [`Supervisor::resume_backend`].
    ///
    /// # Errors
    /// There is no such application, or another drain is under way; nothing has changed then.
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
                // The application exists, so this cannot fail.
                let _ = entry.resume(number);
            }
            error.into()
        })
    }

    /// Sends new clients to an application again, as if it had never failed.
    ///
    /// A drain of its clients that is under way continues.
    ///
    /// # Errors
    /// There is no such application.
    pub fn resume_backend(&self, route: &str, number: usize) -> Result<(), NoBackend> {
        Ok(self.inner.relays.get(route)?.resume(number)?)
    }

    /// Returns the progress of the running drain, or of the last one.
    pub fn drain_progress(&self) -> Option<Arc<DrainProgress>> {
        self.inner.drains.progress(&self.inner.node).map(Arc::new)
    }

    /// Cancels the running drain: no further connection is closed, but those that were sent a Close
    /// still close.
    ///
    /// New connections are accepted again, also after a finished drain with [`DrainOptions::stay`].
    /// Returns `None` if there is nothing to cancel; a drain that a signal began cannot be
    /// cancelled.
    pub fn cancel_drain(&self) -> Option<Arc<DrainProgress>> {
        self.inner.drains.cancel(&self.inner.node).map(Arc::new)
    }

    /// Waits until the supervisor has ended: it was shut down, or its actor died, and every
    /// connection with it. Cancel safe.
    pub async fn gone(&self) {
        // Without a timeout there is no error.
        let _ = self.inner.node.supervisor.wait(None).await;
    }

    /// Aborts all connections, as a second signal does.
    pub fn abort_all(&self, by: Option<Requester>) {
        self.inner.node.refuse_new(NotAccepting::Asked);
        for connection in self.inner.node.registry.all() {
            connection.cut(Input::Abort { cause: Cause::Drain, by: by.clone() });
        }
    }

    /// Drains, then stops listeners and dialers and ends the supervisor.
    ///
    /// Afterwards [`Dial::open`], [`Supervisor::keep`], [`Supervisor::listen`] and
    /// [`Supervisor::adopt`] fail with [`ShutDown`].
    pub async fn shutdown(&self, options: DrainOptions) -> DrainReport {
        self.inner.begin_stop();
        let report = self.drain(options).await;
        self.inner.node.shut();
        self.dialers.end().await;
        self.stop().await;
        report
    }

    /// Ends the listeners and the supervisor's actor, and waits until the last endings are
    /// recorded.
    async fn stop(&self) {
        // This aborts and records the opening handshakes under way.
        self.inner.listeners.close().await;
        let actor = &self.inner.node.supervisor;
        // An error means that the actor has ended already.
        let _ = actor.cast(SupervisorMessage::Stop);
        let patience = Some(Duration::from_secs(5));
        if actor.wait(patience).await.is_err() {
            // A handler blocks its thread; its connection still gets its ending.
            let _ = actor.stop_and_wait(None, patience).await;
        }
        // The last endings are in the ledger's queue.
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
