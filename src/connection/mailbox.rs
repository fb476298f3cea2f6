//! The mailbox of a connection's actor.

use std::sync::OnceLock;

use parking_lot::Mutex;
use ractor::ActorRef;

use crate::protocol::closing_handshake::Input;

/// What the actor of a connection is told.
#[derive(Debug)]
pub(crate) enum ConnectionMessage {
    /// A close was accepted, or something happened.
    Fact(Input),
    /// The deadline of the closing handshake has come.
    Deadline,
    /// The mover has dropped the transport, or died.
    Released,
    /// Panics, so that tests can see what becomes of the connection.
    #[cfg(test)]
    Panic,
}

/// The mailbox, which takes messages also before there is an actor.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    actor: OnceLock<ActorRef<ConnectionMessage>>,
    /// What was sent before there was an actor.
    early: Mutex<Vec<ConnectionMessage>>,
}

impl Mailbox {
    /// Sends the actor a message; at the end there is no actor, and the message is dropped.
    pub(crate) fn send(&self, message: ConnectionMessage) {
        if let Some(actor) = self.actor.get() {
            let _ = actor.cast(message);
            return;
        }
        let mut early = self.early.lock();
        match self.actor.get() {
            Some(actor) => drop(actor.cast(message)),
            None => early.push(message),
        }
    }

    /// Delivers to `actor` from now on, and first what was sent before.
    pub(crate) fn open(&self, actor: ActorRef<ConnectionMessage>) {
        let mut early = self.early.lock();
        for message in std::mem::take(&mut *early) {
            let _ = actor.cast(message);
        }
        let _ = self.actor.set(actor);
    }

    /// Returns the facts that were sent before there was an actor.
    #[cfg(test)]
    pub(crate) fn early(&self) -> Vec<Input> {
        let early = self.early.lock();
        let facts = early.iter().filter_map(|message| match message {
            ConnectionMessage::Fact(input) => Some(input.clone()),
            ConnectionMessage::Deadline
            | ConnectionMessage::Released
            | ConnectionMessage::Panic => None,
        });
        facts.collect()
    }

    /// Returns the actor, so that tests can kill it.
    #[cfg(test)]
    pub(crate) fn actor(&self) -> Option<&ActorRef<ConnectionMessage>> {
        self.actor.get()
    }
}
