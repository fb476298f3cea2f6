//! What the supervisor of a node is told: which connections to take over.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::attempt::Unclaimed;
use super::lease::Lease;
use super::slots::ConnectionSlot;
use super::subjects::Replacing;
use crate::actor::backend::Backend;
use crate::actor::link::Losses;
use crate::connection::handle::ConnectionHandle;
use crate::settings::ConnectionSettings;
use crate::transport::socket::Transport;
use crate::vocabulary::{CloseFrame, ConnectionId, Grant, Message, Origin, Role};

/// What the supervisor is told.
pub(crate) enum SupervisorMessage {
    /// Take over a connection whose opening handshake is complete.
    Adopt(Box<Adoption>, Unclaimed, oneshot::Sender<ConnectionHandle>),
    /// Take over a connection whose other leg did not come, and close it with this.
    Dismiss(Box<Adoption>, Unclaimed, CloseFrame),
    /// Take over both legs of a relay.
    AdoptPair(Box<Pair>, Unclaimed),
    /// Answer, to prove that it lives.
    Ping(oneshot::Sender<()>),
    /// Take over no more, abort what is open, then stop.
    Stop,
}

/// A connection that is to be taken over.
pub(crate) struct Adoption {
    pub(crate) id: ConnectionId,
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) read_ahead: Bytes,
    pub(crate) role: Role,
    pub(crate) origin: Arc<Origin>,
    pub(crate) settings: Arc<ConnectionSettings>,
    pub(crate) backend: Backend,
    /// What it was admitted with.
    pub(crate) grant: Option<Grant>,
    /// What becomes of it and another connection of its subject.
    pub(crate) replacing: Replacing,
    /// Its slot, which is freed once its ending is recorded.
    pub(crate) slot: Option<ConnectionSlot>,
}

/// The legs of a relay that are to be taken over.
pub(crate) struct Pair {
    pub(crate) client: Adoption,
    pub(crate) application: Adoption,
    pub(crate) losses: Losses,
    /// The share of the application that the connection to it takes.
    pub(crate) lease: Box<dyn Lease>,
    /// Whether others than the two ends may send messages there.
    pub(crate) injects: bool,
    /// What is said to the client before anything that passes.
    pub(crate) first: Vec<Message>,
    /// Who waits for the client's leg.
    pub(crate) adopted: Option<oneshot::Sender<ConnectionHandle>>,
}
