//! What has come of a message that is not complete: the memory it takes, and the time.
//!
//! A relay holds no messages. With it the same holds for a frame that is held back until it is
//! whole; a larger one streams, and each piece that passes on begins its time anew.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::turn::Turn;
use super::{Mover, close_for, limit_of};
use crate::actor::backend::Driver;
use crate::protocol::frame_scanner::Position;
use crate::vocabulary::{Cause, CloseCode};

impl Mover {
    /// Records what a read has left behind: its memory is charged, and its time runs.
    pub(super) fn note_unfinished(&mut self, now: Instant) {
        self.charge_input();
        let is_coming = match &self.driver {
            Driver::Relay(leg) => match leg.passage.position() {
                Position::BetweenMessages | Position::BetweenFragments => false,
                Position::InHeader { .. } | Position::InPayload { .. } => true,
            },
            Driver::Echo
            | Driver::Handler(_)
            | Driver::Receiver
            | Driver::Nowhere
            | Driver::Done => self.progress.reader.position() != Position::BetweenMessages,
        };
        self.progress.clock.note(is_coming, now);
    }

    /// Charges the budget with what is held of the input, as its buffers are now.
    pub(super) fn charge_input(&mut self) {
        let held = self.part_held() + self.progress.carry.len() as u64;
        if held == self.charged {
            return;
        }
        let budget = &self.connection.budget;
        if held > self.charged {
            budget.charge(held - self.charged);
        } else {
            budget.release(self.charged - held);
        }
        self.charged = held;
        self.connection.held_input.store(held, Ordering::Relaxed);
    }

    /// Gives back all that the budget was charged with for the input.
    pub(super) fn release_input(&mut self) {
        self.connection.budget.release(std::mem::take(&mut self.charged));
        self.connection.held_input.store(0, Ordering::Relaxed);
    }

    /// Returns what a message, or a frame of a relay, that is not complete takes.
    pub(super) fn part_held(&self) -> u64 {
        let passing = match &self.driver {
            Driver::Relay(leg) => leg.passage.held_capacity() as u64,
            Driver::Echo
            | Driver::Handler(_)
            | Driver::Receiver
            | Driver::Nowhere
            | Driver::Done => 0,
        };
        self.progress.reader.held() + passing
    }

    /// Looks whether the peer has ended its half while reading waits for memory: what it has sent is
    /// in the kernel then, and is bounded. Returns whether that is news.
    pub(super) fn notice_last_bytes(&mut self) -> bool {
        let waits = self.progress.reading.is_paused() && self.connection.budget.is_exhausted();
        if !waits || self.last_bytes {
            return false;
        }
        let kernel = self.transport.kernel();
        self.last_bytes = kernel.is_some_and(|kernel| kernel.state.fin_received());
        self.last_bytes
    }

    /// Drops what was received and not delivered, once it is ordered: others need the memory.
    pub(super) fn drop_received(&mut self, now: Instant) {
        if self.dropped_received || !self.connection.drops_received() {
            return;
        }
        self.dropped_received = true;
        self.progress.reader.discard();
        let turn = std::mem::replace(&mut self.turn, Turn::unbounded());
        self.ingest_carry(now);
        self.turn = turn;
        let lost = self.connection.inbox.abandon();
        self.connection.counters.discarded(lost.messages);
        self.charge_input();
    }

    /// Returns when the message that is coming must have come.
    pub(super) fn message_deadline(&self) -> Option<Instant> {
        if self.closing || !self.progress.reading.is_open() {
            return None; // the closing handshake has deadlines of its own
        }
        self.progress.clock.deadline(self.connection.settings.limits.message_timeout)
    }

    /// Closes the connection of a peer that does not finish its message.
    pub(super) fn watch_message(&mut self, now: Instant) {
        if self.message_deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        self.progress.clock.reported = true;
        let timeout = self.connection.settings.limits.message_timeout;
        let came_for = self.progress.clock.since.map_or(timeout, |since| now - since);
        let limit = limit_of("message_timeout", timeout, came_for);
        let (code, reason) = (CloseCode::IDLE, "message timeout");
        close_for(&self.connection, code, reason, Cause::IdleTimeout, limit);
        self.progress.reader.discard();
        self.charge_input();
    }
}
