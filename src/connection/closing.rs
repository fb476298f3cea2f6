//! How a connection closes: who asks, who decides and who acts.
//!
//! ```text
//!  close ──▶ outbox (our Close, last) ──┐                               ┌─▶ outbox: Close, shut
//!  abort, drain, relay, memory ─────────┼─▶ mailbox ─▶ ClosingHandshake ┤
//!  mover: facts, deadline, Released ────┘     (the actor: decider)      └─▶ mover: actions
//! ```
//!
//! [`ClosingHandshake`] is the only state. The decider alone changes it, one message after the other;
//! everybody else computes answers from it ([`Connection::state`], [`Connection::ended_as`]). It lives
//! here, under a lock, because it must outlive an actor that panics or is killed.
//!
//! # Why no frame follows our Close (RFC 6455 section 5.5.1)
//!
//! The lock of the outbox decides it, for every way to close and however late the decider learns. Under that
//! lock [`Outbox::close`] and [`Outbox::close_decided`] append our Close as the last item and shut the
//! gate in one step; each message is pushed under the same lock, behind a look at the gate; Pings and
//! Pongs are placed before the Close, or never; only the mover writes while anything waits, in order.
//! The gate never opens again, so there is at most one Close.
//!
//! # Why the decider learns of closes in the right order
//!
//! - An accepted close enters the mailbox before the lock of the outbox is released. The mover needs
//!   that lock to write the Close, so `CloseFlushed` always comes behind `CloseAccepted`.
//! - The mover reports the peer's Close before it hands it to the application, so the application's
//!   answer always comes behind `PeerClose`.
//! - If the decider finds the gate shut when it wants to send a Close, what shut it is in the mailbox
//!   already. An accepted close is the frame that goes, and the closing handshake takes it over; after
//!   a [`Connection::cut`] no Close goes.
//! - The decider shuts the outbox before it hands `Finish` to the mover, and the mover sends `Released`
//!   last. So a close that was accepted is in the record, even if it lost the race against the end.
//!
//! # Why there is exactly one ending
//!
//! The closing handshake asks for [`Action::Finish`] once. The mover drops the transport on it and
//! returns, which sends `Released`; then the actor stops. However the actor ends (that way, by a
//! panic, or killed), the supervisor reaps it once, and only there the [`Outcome`] is drawn up. A
//! closing handshake that had not ended by then becomes `actor_failed`.

use parking_lot::MutexGuard;
use std::time::Instant;

use super::Connection;
use super::mailbox::ConnectionMessage;
use super::orders::Orders;
use crate::protocol::closing_handshake::{Action, CloseRequest, ClosingHandshake, Input};
use crate::vocabulary::{CloseCode, CloseFrame, CloseState, Kind, Outcome};

impl Connection {
    /// Asks for a close: our Close is queued behind what is queued, and the decider is told.
    ///
    /// Returns `false` if a close was accepted before, or the connection is at its end.
    pub(crate) fn close(&self, request: CloseRequest) -> bool {
        let frame = request.frame.clone();
        let accepted = self.outbox.close(&frame, || self.report(Input::CloseAccepted(request)));
        if accepted {
            self.mover.wake();
        }
        accepted
    }

    /// Reports an abort or the deadline of a drain, and accepts no close after it.
    pub(crate) fn cut(&self, input: Input) {
        self.outbox.shut_reporting(|| self.report(input));
    }

    /// Makes a Close in our own words, with the id if `close.reason_id` says so.
    pub(crate) fn own_frame(&self, code: CloseCode, reason: &str) -> CloseFrame {
        let signature = self.settings.close.reason_id.then(|| self.id.short());
        CloseFrame::signed(code, reason, signature.as_deref())
    }

    /// Reports a fact to the decider.
    pub(crate) fn report(&self, input: Input) {
        self.mailbox.send(ConnectionMessage::Fact(input));
    }

    /// Locks the closing handshake. The lock of the outbox may be taken behind it, never before it.
    pub(crate) fn handshake(&self) -> MutexGuard<'_, ClosingHandshake> {
        // A panic of the actor leaves the handshake as far as it had come, which is what is recorded.
        self.handshake.lock()
    }

    /// Hands on what the closing handshake has decided: to the outbox at once, the rest to the mover.
    pub(crate) fn order(&self, actions: Vec<Action>, deadline: Option<Instant>) {
        for action in &actions {
            match action {
                Action::SendClose { frame, shed } => {
                    self.outbox.close_decided(frame, *shed);
                }
                Action::FlushThenReport | Action::Finish { .. } => self.outbox.shut(),
                Action::StopDelivery | Action::ShutdownWrite => {}
            }
        }
        {
            let mut orders = self.orders.lock();
            orders.actions.extend(actions);
            orders.deadline = deadline;
        }
        self.mover.wake();
    }

    /// Takes the actions that the mover has not executed yet, and the deadline as it is now.
    pub(crate) fn take_orders(&self) -> Orders {
        let mut orders = self.orders.lock();
        Orders { actions: std::mem::take(&mut orders.actions), deadline: orders.deadline }
    }

    /// Returns where the closing handshake stands, from the moment a close is accepted; `closed` at
    /// the end.
    pub(crate) fn state(&self) -> CloseState {
        if self.has_ended() {
            return CloseState::Closed;
        }
        let state = self.handshake().state();
        match state {
            // Accepted, and still in the mailbox.
            CloseState::Open if self.outbox.has_close() => CloseState::CloseSent,
            CloseState::Open
            | CloseState::CloseSent
            | CloseState::CloseReceived
            | CloseState::Closed => state,
        }
    }

    /// Returns how it ended, as soon as that is fixed.
    pub(crate) fn ended_as(&self) -> Option<Kind> {
        match self.ending() {
            Some(ending) => Some(ending.outcome.kind),
            None => self.handshake().kind(),
        }
    }

    /// Draws up the outcome, once the actor and the mover are gone; where the closing handshake has
    /// not ended, one of them died, of what `what` says.
    pub(crate) fn outcome_or(&self, what: impl FnOnce() -> String) -> Outcome {
        let mut handshake = self.handshake();
        handshake.outcome().unwrap_or_else(|| handshake.fail_actor(&what()))
    }
}

#[cfg(test)]
mod tests;
