//! The decider: the ractor actor of one connection, which alone changes the closing handshake.
//!
//! Its mailbox carries control and the facts that its mover reports, never message data, so a close,
//! an abort or a stop is handled whatever the socket does. In which order, and why exactly one ending
//! follows, is written down in [`connection::closing`](crate::connection::closing).

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::backend::Backend;
use super::failure::ConnectionFailure;
use super::link::Link;
use super::mover::Mover;
use crate::connection::Connection;
use crate::connection::handle::ConnectionHandle;
use crate::connection::mailbox::ConnectionMessage;
use crate::protocol::closing_handshake::{Action, ClosingHandshake, Input};
use crate::runtime::now;
use crate::transport::socket::Transport;
use crate::vocabulary::{Closing, Kind};

/// The actor of one connection.
pub(crate) struct Decider;

/// Is told of every closing handshake.
pub(crate) trait ClosingObserver: Send + Sync {
    /// Receives the progress of a closing handshake.
    fn closing(&self, closing: Closing);
}

/// What the decider starts with.
pub(crate) struct Start {
    pub(crate) connection: Arc<Connection>,
    pub(crate) publisher: Arc<dyn ClosingObserver>,
    pub(crate) transport: Box<dyn Transport>,
    /// What came behind the opening handshake, and belongs in front of what is read.
    pub(crate) read_ahead: Bytes,
    pub(crate) backend: Backend,
}

/// What the decider owns. Dropping it, however that comes about, ends the mover.
pub(crate) struct Deciding {
    connection: Arc<Connection>,
    publisher: Arc<dyn ClosingObserver>,
    _mover: MoverTask,
    /// The way to the other leg of a relay.
    link: Option<Arc<Link>>,
}

impl Actor for Decider {
    type Msg = ConnectionMessage;
    type State = Deciding;
    type Arguments = Start;

    async fn pre_start(
        &self,
        myself: ActorRef<ConnectionMessage>,
        start: Start,
    ) -> Result<Deciding, ActorProcessingErr> {
        let Start { connection, publisher, transport, read_ahead, backend } = start;
        connection.set_direct_writer(transport.direct_writer());
        connection.mailbox.open(myself);
        let handle = ConnectionHandle::new(Arc::clone(&connection));
        let link = backend.link();
        let driver = backend.start(&handle);
        let mover = Mover::new(Arc::clone(&connection), transport, read_ahead, driver);
        let mover = MoverTask::spawn(mover, Arc::clone(&connection));
        Ok(Deciding { connection, publisher, _mover: mover, link })
    }

    async fn handle(
        &self,
        myself: ActorRef<ConnectionMessage>,
        message: ConnectionMessage,
        deciding: &mut Deciding,
    ) -> Result<(), ActorProcessingErr> {
        // It is the last message of the mover: everything else was handled before.
        let released = matches!(message, ConnectionMessage::Released);
        deciding.connection.span.in_scope(|| deciding.handle(message));
        if !released {
            return Ok(());
        }
        let kind = deciding.connection.handshake().kind();
        match kind {
            Some(Kind::Clean) => {
                myself.stop(None);
                Ok(())
            }
            Some(kind) => Err(ConnectionFailure::Ended(kind).into()),
            None => Err(ConnectionFailure::MoverDied.into()),
        }
    }
}

impl Deciding {
    /// Tells the closing handshake what happened, and hands on what follows from it: orders to the
    /// outbox and the mover, a loss to the other leg of a relay, a change of state to the observer.
    fn handle(&self, message: ConnectionMessage) {
        let connection = &*self.connection;
        let mut handshake = connection.handshake();
        let before = handshake.state();
        let actions = self.advance(&mut handshake, message);
        connection.order(actions, handshake.poll_deadline());
        if let Some(link) = &self.link
            && let Some((kind, what, limit)) = handshake.loss()
        {
            link.lose(kind, what, limit);
        }
        let (state, cause) = (handshake.state(), handshake.cause());
        drop(handshake);
        if state != before {
            tracing::debug!(%state, %cause, "the closing handshake has changed its state");
            let closing = Closing { id: connection.id, state, cause, at: SystemTime::now() };
            self.publisher.closing(closing);
        }
    }

    /// Returns what is to be done, in order.
    fn advance(&self, handshake: &mut ClosingHandshake, message: ConnectionMessage) -> Vec<Action> {
        let now = now();
        let mut actions = Vec::new();
        match message {
            ConnectionMessage::Fact(input) => handshake.handle_input(now, input, &mut actions),
            ConnectionMessage::Deadline => {
                // A Close that waits for the rest of a frame of the other leg is not this peer's
                // fault.
                if let Some(link) = &self.link
                    && handshake.poll_deadline().is_some_and(|deadline| deadline <= now)
                    && self.connection.outbox.awaits_frame_end()
                {
                    let loss = link.loss_for_want_of_a_frame_end();
                    handshake.handle_input(now, Input::RelayLost(loss), &mut actions);
                }
                handshake.handle_deadline(now, &mut actions);
            }
            ConnectionMessage::Released => {}
            #[cfg(test)]
            ConnectionMessage::Panic => panic!("a test asked for it"),
        }
        actions
    }
}

/// The mover's task, which ends with its owner.
struct MoverTask(JoinHandle<()>);

impl MoverTask {
    fn spawn(mover: Mover, connection: Arc<Connection>) -> Self {
        let span = connection.span.clone();
        let guard = ReleaseGuard(connection);
        let moving = async move {
            let guard = guard;
            guard.0.own_waits.run_here();
            mover.await;
            drop(guard);
        };
        Self(tokio::spawn(moving.instrument(span)))
    }
}

impl Drop for MoverTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tells the decider that the mover is gone, also when it panics.
struct ReleaseGuard(Arc<Connection>);

impl Drop for ReleaseGuard {
    fn drop(&mut self) {
        self.0.mailbox.send(ConnectionMessage::Released);
    }
}
