//! The decider: the ractor actor of one connection, whose state is the closing handshake.
//!
//! Its mailbox carries control and the facts that its mover reports, never message data, so it is
//! never deaf: a close, an abort or a stop is heard whatever the socket does.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::JoinHandle;

use super::backend::Backend;
use super::failure::ConnectionFailure;
use super::link::Link;
use super::mover::Mover;
use crate::connection::handle::ConnectionHandle;
use crate::connection::mailbox::ConnectionMessage;
use crate::connection::{Connection, Release};
use crate::protocol::closing_handshake::{Action, Input};
use crate::runtime::now;
use crate::transport::socket::Transport;
use crate::vocabulary::{Closing, Kind};

/// The actor of one connection.
pub(crate) struct Decider;

/// Is told of every closing handshake.
pub(crate) trait ClosingObserver: Send + Sync {
    /// Takes note of how far a closing handshake is.
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
    /// What is to be done next; kept for its allocation.
    actions: Vec<Action>,
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
        connection.set_actor(myself);
        let handle = ConnectionHandle::new(Arc::clone(&connection));
        let link = backend.link();
        let driver = backend.start(&handle);
        let mover = Mover::new(Arc::clone(&connection), transport, read_ahead, driver);
        let mover = MoverTask::spawn(mover, Arc::clone(&connection));
        Ok(Deciding { connection, publisher, _mover: mover, link, actions: Vec::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<ConnectionMessage>,
        message: ConnectionMessage,
        deciding: &mut Deciding,
    ) -> Result<(), ActorProcessingErr> {
        // What the mover had to tell, it has told before it says that it is gone.
        let released = matches!(message, ConnectionMessage::Released);
        deciding.handle(message);
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
    fn handle(&mut self, message: ConnectionMessage) {
        let connection = Arc::clone(&self.connection);
        let mut handshake = connection.handshake();
        let before = handshake.state();
        let now = now();
        let actions = &mut self.actions;
        match message {
            ConnectionMessage::Released => {}
            ConnectionMessage::Fact(input) => handshake.handle_input(now, input, actions),
            ConnectionMessage::Deadline => {
                if let Some(link) = &self.link
                    && handshake.poll_deadline().is_some_and(|deadline| deadline <= now)
                    && connection.outbox.awaits_frame_end()
                {
                    let loss = link.loss_for_want_of_a_frame_end();
                    handshake.handle_input(now, Input::RelayLost(loss), actions);
                }
                handshake.handle_deadline(now, actions);
            }
            #[cfg(test)]
            ConnectionMessage::Panic => panic!("a test asked for it"),
        }
        for action in actions.drain(..) {
            match action {
                // If a close was accepted meanwhile, its frame goes instead, and it is in the mailbox.
                Action::SendClose { frame, shed } => {
                    connection.outbox.close_decided(&frame, shed);
                }
                Action::StopDelivery => connection.order(|orders| orders.stop_delivery = true),
                Action::ShutdownWrite => connection.order(|orders| orders.shutdown_write = true),
                Action::FlushThenTell => {
                    connection.outbox.shut();
                    connection.order(|orders| orders.flush_then_tell = true);
                }
                Action::Finish { reset, kind } => {
                    connection.outbox.shut();
                    let release = Release { reset, at_once: must_not_wait(kind) };
                    connection.order(|orders| orders.release = Some(release));
                }
            }
        }
        if let Some(link) = &self.link
            && let Some((kind, what, limit)) = handshake.loss()
        {
            link.lose(kind, what, limit);
        }
        let (state, deadline) = (handshake.state(), handshake.poll_deadline());
        let (cause, closing) = (handshake.cause(), deadline.is_some() || handshake.is_ended());
        drop(handshake);
        connection.set_state(state);
        connection.order(|orders| {
            orders.deadline = deadline;
            orders.closing |= closing;
        });
        if state != before {
            let closing = Closing { id: connection.id, state, cause, at: SystemTime::now() };
            self.publisher.closing(closing);
        }
    }
}

/// Somebody wants it gone now, or there is nobody left to take what came.
fn must_not_wait(kind: Kind) -> bool {
    matches!(kind, Kind::Aborted | Kind::DrainDeadline | Kind::BackendFailed)
}

/// The mover's task, which ends with its owner.
struct MoverTask(JoinHandle<()>);

impl MoverTask {
    fn spawn(mover: Mover, connection: Arc<Connection>) -> Self {
        let guard = ReleaseGuard(connection);
        Self(tokio::spawn(async move {
            let guard = guard;
            guard.0.own_waits.run_here();
            mover.await;
            drop(guard);
        }))
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
        self.0.tell(ConnectionMessage::Released);
    }
}
