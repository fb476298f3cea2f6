//! The supervisor: the ractor actor that spawns one actor per connection and handles every end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::adoption::{Adoption, Pair, SupervisorMessage};
use super::commits::Publisher;
use super::lease::Lease;
use super::registry::Registry;
use super::revoking::RevocationList;
use super::subjects::Replacing;
use crate::actor::decider::{Decider, Start};
use crate::actor::failure::ConnectionFailure;
use crate::actor::link::{Link, Side};
use crate::connection::budget::MemoryBudget;
use crate::connection::handle::ConnectionHandle;
use crate::connection::{Connection, ConnectionParts};
use crate::protocol::closing_handshake::{CloseRequest, Input};
use crate::runtime::now;
use crate::vocabulary::{Cause, CloseCode, CloseFrame};

/// A handler that has not returned when its connection ends has at least this long, also where
/// `close.linger` is shorter: its ending has yet to be recorded before it hears of it.
const REMAINDER_WITHIN: Duration = Duration::from_secs(1);

/// The supervisor of all connections of a node.
pub(crate) struct SupervisorActor;

/// What the supervisor works with.
pub(crate) struct Supervising {
    pub(crate) node: Arc<str>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) publisher: Arc<Publisher>,
    revocations: Arc<RevocationList>,
    pub(crate) budget: Arc<MemoryBudget>,
    /// Which connection is whose: an actor that panicked can no longer say.
    children: HashMap<ActorId, Arc<Connection>>,
    /// What is left of handlers whose connections have ended; each is bounded in time.
    remainders: JoinSet<()>,
    /// It stops once the last child is gone.
    stopping: bool,
}

impl Supervising {
    pub(crate) fn new(
        node: Arc<str>,
        registry: Arc<Registry>,
        publisher: Arc<Publisher>,
        revocations: Arc<RevocationList>,
        budget: Arc<MemoryBudget>,
    ) -> Self {
        Self {
            node,
            registry,
            publisher,
            revocations,
            budget,
            children: HashMap::new(),
            remainders: JoinSet::new(),
            stopping: false,
        }
    }
}

impl Actor for SupervisorActor {
    type Msg = SupervisorMessage;
    type State = Supervising;
    type Arguments = Supervising;

    async fn pre_start(
        &self,
        _myself: ActorRef<SupervisorMessage>,
        supervising: Supervising,
    ) -> Result<Supervising, ActorProcessingErr> {
        Ok(supervising)
    }

    async fn handle(
        &self,
        myself: ActorRef<SupervisorMessage>,
        message: SupervisorMessage,
        supervising: &mut Supervising,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            // Dropped, each says so to those who wait and is recorded.
            SupervisorMessage::Adopt(..)
            | SupervisorMessage::Dismiss(..)
            | SupervisorMessage::AdoptPair(..)
                if supervising.stopping => {}
            SupervisorMessage::Adopt(adoption, unclaimed, adopted) => {
                unclaimed.claim();
                let handle = supervising.adopt(*adoption, myself).await;
                // The caller may have been dropped; the connection exists all the same.
                let _ = adopted.send(handle);
            }
            SupervisorMessage::Dismiss(adoption, unclaimed, close) => {
                unclaimed.claim();
                let handle = supervising.adopt(*adoption, myself).await;
                handle.close_with(close, Cause::RelayPeer, None);
            }
            SupervisorMessage::AdoptPair(pair, unclaimed) => {
                unclaimed.claim();
                supervising.adopt_pair(*pair, myself).await;
            }
            SupervisorMessage::Ping(answer) => {
                // Whoever asked may have given up waiting.
                let _ = answer.send(());
            }
            SupervisorMessage::Stop => {
                supervising.stopping = true;
                supervising.abort_all();
                supervising.stop_if_done(&myself);
            }
        }
        Ok(())
    }

    /// What handlers do behind the ends of their connections is seen through.
    async fn post_stop(
        &self,
        _myself: ActorRef<SupervisorMessage>,
        supervising: &mut Supervising,
    ) -> Result<(), ActorProcessingErr> {
        while supervising.remainders.join_next().await.is_some() {}
        Ok(())
    }

    /// A child's end never ends the supervisor, which is what ractor would do by default.
    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<SupervisorMessage>,
        event: SupervisionEvent,
        supervising: &mut Supervising,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(child, state, reason) => {
                // With its state goes its mover, if that is still there.
                drop(state);
                supervising.reap(child.get_id(), Death::Stopped(reason));
            }
            SupervisionEvent::ActorFailed(child, error) => {
                let how = match error.downcast::<ConnectionFailure>() {
                    Ok(failure) => Death::Failed(*failure),
                    Err(panic) => Death::Panicked(panic.to_string()),
                };
                supervising.reap(child.get_id(), how);
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        supervising.stop_if_done(&myself);
        Ok(())
    }
}

/// How a connection's actor ended.
enum Death {
    /// It was stopped or killed, for the reason that ractor gives.
    Stopped(Option<String>),
    Failed(ConnectionFailure),
    Panicked(String),
    /// Its supervisor ended before it.
    Orphaned,
}

impl Supervising {
    async fn adopt(
        &mut self,
        adoption: Adoption,
        myself: ActorRef<SupervisorMessage>,
    ) -> ConnectionHandle {
        let replacing = adoption.replacing;
        let (connection, start) = self.prepare(adoption, None, |_| ());
        self.start(connection, start, replacing, myself).await
    }

    /// Takes over both legs of a relay. The end of one is reported to the other.
    async fn adopt_pair(&mut self, pair: Pair, myself: ActorRef<SupervisorMessage>) {
        let Pair { client, application, losses, lease, injects, first, adopted } = pair;
        let make_leg = |leg: &Connection, other| {
            leg.outbox.make_leg(injects);
            let _ = leg.relay_peer.set(other);
        };
        let (client_id, application_id) = (client.id, application.id);
        let replacing = client.replacing;
        let (client, mut client_start) = self.prepare(client, None, |client| {
            make_leg(client, application_id);
            client.outbox.push_first(&first, now());
        });
        // A drain that begins behind this finds the client, which is in the registry.
        let drains = lease.drains();
        let (application, mut application_start) =
            self.prepare(application, Some(lease), |application| make_leg(application, client_id));
        for (start, other, side) in [
            (&mut client_start, &application, Side::Client),
            (&mut application_start, &client, Side::Application),
        ] {
            start.backend.join(Link::new(side, Arc::clone(other), losses));
        }
        self.start(application, application_start, Replacing::default(), myself.clone()).await;
        let handle = self.start(client, client_start, replacing, myself).await;
        if drains {
            // One that began while the application answered may have looked for it before.
            let close = CloseFrame::coded(CloseCode::SERVICE_RESTART, "service restart");
            handle.close_with(close, Cause::Drain, None);
        }
        if let Some(adopted) = adopted {
            // The caller may have been dropped; the connection exists all the same.
            let _ = adopted.send(handle);
        }
    }

    /// Enters a connection into the registry, once `complete` has prepared it: from then on others find
    /// it, and may send.
    fn prepare(
        &self,
        adoption: Adoption,
        lease: Option<Box<dyn Lease>>,
        complete: impl FnOnce(&Connection),
    ) -> (Arc<Connection>, Start) {
        let Adoption {
            id,
            transport,
            read_ahead,
            role,
            origin,
            settings,
            mut backend,
            grant,
            replacing: _,
            slot,
        } = adoption;
        let connection = Arc::new(Connection::new(ConnectionParts {
            id,
            role,
            origin,
            settings,
            reply: backend.reply,
            keeps_inbox: backend.keeps_inbox(),
            node: Arc::clone(&self.node),
            budget: Arc::clone(&self.budget),
            grant,
        }));
        // Before anything is read: what is watched for may come with the opening handshake.
        connection.set_watch(backend.take_watch());
        complete(&connection);
        self.registry.insert(Arc::clone(&connection), slot, lease);
        self.publisher.opened(&connection);
        let start = Start {
            connection: Arc::clone(&connection),
            publisher: self.publisher.clone(),
            transport,
            read_ahead,
            backend,
        };
        (connection, start)
    }

    async fn start(
        &mut self,
        connection: Arc<Connection>,
        start: Start,
        replacing: Replacing,
        myself: ActorRef<SupervisorMessage>,
    ) -> ConnectionHandle {
        let handle = ConnectionHandle::new(Arc::clone(&connection));
        // Again, as it was admitted some time ago: from here on it is found in the registry.
        let revoked = self.revocations.close_if_revoked(&connection);
        if !revoked && let Some(goes) = self.registry.replace(&connection, replacing) {
            let frame = goes.own_frame(CloseCode::REPLACED, "replaced");
            goes.close(CloseRequest::new(frame, Cause::Replaced));
        }
        match Decider::spawn_linked(None, Decider, start, myself.get_cell()).await {
            Ok((actor, _task)) => {
                self.children.insert(actor.get_id(), connection);
            }
            // There is no event for an actor that did not start.
            Err(error) => self.publish(&connection, Death::Panicked(error.to_string())),
        }
        handle
    }

    /// Publishes the ending of a connection whose actor has ended.
    fn reap(&mut self, child: ActorId, death: Death) {
        if let Some(child) = self.children.remove(&child) {
            self.publish(&child, death);
            while self.remainders.try_join_next().is_some() {}
            if let Some(remainder) = child.own_waits.take_remainder() {
                let within = child.settings.close.linger.max(REMAINDER_WITHIN);
                self.remainders.spawn(async move {
                    // One that takes longer is dropped.
                    let _ = timeout(within, remainder).await;
                });
            }
        }
    }

    fn publish(&self, connection: &Connection, death: Death) {
        let outcome = connection.outcome_or(|| match death {
            Death::Stopped(None) => "its actor was stopped".to_owned(),
            Death::Stopped(Some(reason)) => format!("its actor was stopped: {reason}"),
            Death::Failed(failure) => failure.to_string(),
            Death::Panicked(what) => format!("its actor panicked: {what}"),
            Death::Orphaned => "its supervisor ended".to_owned(),
        });
        connection.end_inbox();
        self.publisher.ended(connection.draw_up_ending(outcome));
    }

    fn abort_all(&self) {
        for child in self.children.values() {
            child.cut(Input::Abort { cause: Cause::Embedder, by: None });
        }
    }

    fn stop_if_done(&self, myself: &ActorRef<SupervisorMessage>) {
        if self.stopping && self.children.is_empty() {
            myself.stop(None);
        }
    }
}

/// However the supervisor ends, ractor kills its children, and no actor is left to handle it.
impl Drop for Supervising {
    fn drop(&mut self) {
        if !self.stopping {
            tracing::error!(
                open = self.children.len(),
                "the supervisor of all connections ended unasked, and they with it: its runtime was \
                 dropped, or this is a fault to report"
            );
        }
        for child in std::mem::take(&mut self.children).into_values() {
            self.publish(&child, Death::Orphaned);
        }
    }
}
