//! The supervisor: the ractor actor that spawns an actor per connection and hears of every end.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;

use super::backend::Backend;
use super::connection::{Birth, Connection};
use super::decider::{Decider, Start};
use super::failure::ConnectionFailure;
use super::handle::ConnectionHandle;
use super::memory::MemoryBudget;
use super::node::Place;
use super::publication::Publisher;
use super::registry::Registry;
use crate::config::ConnectionSettings;
use crate::transport::socket::Transport;
use crate::vocabulary::{Origin, Role};

/// The supervisor of all connections of a node.
pub(super) struct SupervisorActor;

/// What the supervisor is told.
pub(super) enum SupervisorMessage {
    /// Take over a connection whose opening handshake is complete.
    Adopt(Box<Adoption>, oneshot::Sender<ConnectionHandle>),
}

/// A connection that is to be taken over.
pub(crate) struct Adoption {
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) read_ahead: Bytes,
    pub(crate) role: Role,
    pub(crate) origin: Arc<Origin>,
    pub(crate) settings: Arc<ConnectionSettings>,
    pub(crate) backend: Backend,
    /// Its place among those that are counted; free again once its ending is published.
    pub(crate) place: Option<Place>,
}

/// A connection that is alive.
struct Child {
    connection: Arc<Connection>,
    _place: Option<Place>,
}

/// What the supervisor works with.
pub(super) struct Supervising {
    pub(super) node: Arc<str>,
    pub(super) registry: Arc<Registry>,
    pub(super) publisher: Arc<Publisher>,
    pub(super) budget: Arc<MemoryBudget>,
    /// Which connection is whose: an actor that panicked can no longer say.
    children: HashMap<ActorId, Child>,
}

impl Supervising {
    pub(super) fn new(
        node: Arc<str>,
        registry: Arc<Registry>,
        publisher: Arc<Publisher>,
        budget: Arc<MemoryBudget>,
    ) -> Self {
        Self { node, registry, publisher, budget, children: HashMap::new() }
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
        let SupervisorMessage::Adopt(adoption, adopted) = message;
        let handle = supervising.adopt(*adoption, myself).await;
        // Whoever asked may have gone; the connection is there all the same.
        let _ = adopted.send(handle);
        Ok(())
    }

    /// A child's end never ends the supervisor, which is what ractor would do by default.
    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<SupervisorMessage>,
        event: SupervisionEvent,
        supervising: &mut Supervising,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(child, state, _reason) => {
                let how = if state.is_some() { Death::Stopped } else { Death::Killed };
                supervising.bury(child.get_id(), how);
            }
            SupervisionEvent::ActorFailed(child, error) => {
                let how = match error.downcast::<ConnectionFailure>() {
                    Ok(failure) => Death::Failed(*failure),
                    Err(panic) => Death::Panicked(panic.to_string()),
                };
                supervising.bury(child.get_id(), how);
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

/// How a connection's actor ended.
enum Death {
    Stopped,
    Killed,
    Failed(ConnectionFailure),
    Panicked(String),
}

impl Supervising {
    async fn adopt(
        &mut self,
        adoption: Adoption,
        myself: ActorRef<SupervisorMessage>,
    ) -> ConnectionHandle {
        let Adoption { transport, read_ahead, role, origin, settings, backend, place } = adoption;
        let connection = Arc::new(Connection::new(Birth {
            role,
            origin,
            settings,
            reply: backend.reply,
            node: Arc::clone(&self.node),
            budget: Arc::clone(&self.budget),
        }));
        self.registry.insert(Arc::clone(&connection));
        self.publisher.opened(&connection);
        let handle = ConnectionHandle::new(Arc::clone(&connection));
        let start = Start {
            connection: Arc::clone(&connection),
            publisher: Arc::clone(&self.publisher),
            transport,
            read_ahead,
            backend,
        };
        match Decider::spawn_linked(None, Decider, start, myself.get_cell()).await {
            Ok((actor, _task)) => {
                self.children.insert(actor.get_id(), Child { connection, _place: place });
            }
            // There is no event for an actor that did not start.
            Err(error) => self.publish(&connection, Death::Panicked(error.to_string())),
        }
        handle
    }

    /// Publishes the ending of a connection whose actor has ended.
    fn bury(&mut self, child: ActorId, death: Death) {
        if let Some(child) = self.children.remove(&child) {
            self.publish(&child.connection, death);
        }
    }

    fn publish(&self, connection: &Connection, death: Death) {
        let outcome = connection.take_verdict(|| match death {
            Death::Stopped => "its actor stopped before its end".to_owned(),
            Death::Killed => "its actor was killed".to_owned(),
            Death::Failed(failure) => failure.to_string(),
            Death::Panicked(what) => format!("its actor panicked: {what}"),
        });
        connection.inbox.end();
        self.publisher.ended(connection.draw_up(outcome));
    }
}
