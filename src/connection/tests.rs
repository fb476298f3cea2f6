//! A connection without an actor and a mover.

use std::sync::Arc;

use super::budget::MemoryBudget;
use super::{Connection, ConnectionParts};
use crate::protocol::closing_handshake::ReplyPolicy;
use crate::settings::ConnectionSettings;
use crate::vocabulary::{ConnectionId, Direction, Origin, Role};

pub(super) fn connection(reply: ReplyPolicy) -> Connection {
    Connection::new(ConnectionParts {
        id: ConnectionId::new(),
        role: Role::Server,
        origin: Arc::new(Origin::new(Direction::Inbound)),
        settings: Arc::new(ConnectionSettings::default()),
        reply,
        keeps_inbox: false,
        node: "test".into(),
        budget: Arc::new(MemoryBudget::new(1 << 20)),
        grant: None,
    })
}
