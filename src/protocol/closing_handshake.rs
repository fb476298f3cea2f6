//! The closing handshake of RFC 6455 section 7 as a state machine, for both roles.
//!
//! It takes facts ([`Input`]) and the time, and returns what is to be done ([`Action`]). Whatever
//! order the facts come in, it finishes exactly once, asks for at most one Close frame, and has a
//! deadline in every phase but `Open` and `Ended`.
//!
//! It is the only state of the closing handshake: the public [`CloseState`], the deadline, the kind
//! and the outcome are computed from it. A section number is one of RFC 6455 and stands at the branch
//! that the section prescribes.
//!
//! ```text
//!            close accepted                       peer's Close
//!   Open ───────────────────▶ CloseSent ──────────────┬─────────────▶ AwaitingTransportEnd ─▶ Ended
//!    │  peer's Close                                  │ ours queued          ▲
//!    ├───────────────────────▶ CloseReceived ◀────────┘                      │
//!    │                               └── our reply left ─────────────────────┘
//!    ├─ violation, overflow, silence ─▶ Failing (our Close, FIN, gone within linger) ─▶ Ended
//!    └─ peer's FIN ─▶ Flushing (what was queued is still written) ─▶ Ended
//! ```
//!
//! `Open` is the OPEN of section 4.1, `CloseSent` to `Flushing` are the CLOSING of section 7.1.3, and
//! `Ended` is the CLOSED of section 7.1.4.

use std::time::{Duration, Instant};

use super::classification::{Breach, Loss, Standing};
use crate::vocabulary::{
    Cause, CloseFrame, CloseState, Kind, Limit, Outcome, ReceivedClose, Role, TransportEnd,
};

mod evidence;
mod failing;
#[cfg(test)]
mod tests;
mod words;

use evidence::Evidence;
pub use words::{Action, ClosePolicy, CloseRequest, Input, RelayLoss, ReplyPolicy};

/// The closing handshake of one connection.
#[derive(Debug)]
pub struct ClosingHandshake {
    role: Role,
    policy: ClosePolicy,
    phase: Phase,
    evidence: Evidence,
}

/// Where the machine stands. `Open` and `Ended` have no deadline, every other phase has one.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Open,
    /// Our Close is queued or has left; the peer's is awaited (section 7.1.2).
    CloseSent {
        deadline: Instant,
    },
    /// The peer's Close has come; ours has not left (section 5.5.1).
    CloseReceived {
        deadline: Instant,
        reply: Reply,
    },
    /// One Close each way; TCP is still to end (section 7.1.1).
    AwaitingTransportEnd {
        deadline: Instant,
    },
    /// The connection is failed (section 7.1.7), or the peer can no longer be waited for.
    Failing {
        deadline: Instant,
    },
    /// The peer ended its half without a Close; what is queued may still reach it (section 7.1.4).
    Flushing {
        deadline: Instant,
    },
    Ended {
        end: TransportEnd,
    },
}

/// Where our answer to the peer's Close stands.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reply {
    /// The application chooses; after this instant we answer in kind.
    Awaited {
        until: Instant,
    },
    Queued,
}

impl ClosingHandshake {
    /// Starts at `Open`.
    pub fn new(role: Role, policy: ClosePolicy) -> Self {
        Self { role, policy, phase: Phase::Open, evidence: Evidence::default() }
    }

    /// Returns where the closing handshake stands, in the words of the contract.
    pub fn state(&self) -> CloseState {
        self.evidence.state()
    }

    /// Returns the first reason for this end to act.
    pub fn cause(&self) -> Cause {
        self.evidence.cause()
    }

    /// Returns whether the connection has ended.
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended { .. })
    }

    /// Returns why this leg of a relay cannot go on, as half a sentence, once that is fixed: for the
    /// other leg, which is not to wait until this one has ended.
    pub fn loss(&self) -> Option<(Kind, &str, Option<&Limit>)> {
        self.evidence.loss()
    }

    /// Draws up the outcome, once the connection has ended.
    pub fn outcome(&self) -> Option<Outcome> {
        match self.phase {
            Phase::Ended { end } => Some(self.evidence.outcome(self.role, end)),
            Phase::Open
            | Phase::CloseSent { .. }
            | Phase::CloseReceived { .. }
            | Phase::AwaitingTransportEnd { .. }
            | Phase::Failing { .. }
            | Phase::Flushing { .. } => None,
        }
    }

    /// Returns the kind of the outcome, once the connection has ended.
    pub fn kind(&self) -> Option<Kind> {
        self.is_ended().then(|| self.evidence.kind())
    }

    /// Returns when [`ClosingHandshake::handle_deadline`] is due.
    pub fn poll_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Open | Phase::Ended { .. } => None,
            Phase::CloseReceived { deadline, reply: Reply::Awaited { until } } => {
                Some(deadline.min(until))
            }
            Phase::CloseReceived { deadline, reply: Reply::Queued }
            | Phase::CloseSent { deadline }
            | Phase::AwaitingTransportEnd { deadline }
            | Phase::Failing { deadline }
            | Phase::Flushing { deadline } => Some(deadline),
        }
    }

    /// Takes a fact; appends what is to be done to `actions`, in order.
    pub fn handle_input(&mut self, now: Instant, input: Input, actions: &mut Vec<Action>) {
        // A Close that was accepted, or left, before the transport was dropped is still evidence.
        let is_evidence = matches!(input, Input::CloseAccepted(_) | Input::CloseFlushed);
        if self.is_ended() && !is_evidence {
            return;
        }
        match input {
            Input::CloseAccepted(request) => self.handle_close_accepted(now, request),
            Input::ReplyInKind => self.reply_in_kind(actions),
            Input::Abort { cause, by } => {
                self.cut(Kind::Aborted, cause, by, "this end aborted the connection", actions);
            }
            Input::PeerClose { close, breach } => {
                self.handle_peer_close(now, close, breach, actions);
            }
            Input::CloseFlushed => self.handle_close_flushed(now, actions),
            Input::OutboxFlushed => self.handle_outbox_flushed(actions),
            Input::TransportEnded(loss) => self.handle_transport_ended(now, &loss, actions),
            Input::Violation(breach) => self.handle_violation(now, breach, actions),
            Input::PongOverdue { silent } => self.handle_pong_overdue(now, silent, actions),
            Input::WriteStalled(limit) => self.handle_write_stalled(limit, actions),
            Input::OutboxOverflow(limit) => self.handle_overflow(now, limit, actions),
            Input::MemoryExhausted { limit, what, reads } => {
                self.handle_memory_exhausted(now, limit, what, reads, actions);
            }
            Input::BackendFailed { code, what, limit } => {
                self.handle_backend_failed(now, code, what, limit, actions);
            }
            Input::DrainDeadline(by) => {
                let what = "the connection was still open when the drain's deadline passed";
                self.cut(Kind::DrainDeadline, Cause::Drain, by, what, actions);
            }
            Input::RelayLost(loss) => self.handle_relay_lost(now, loss, actions),
        }
    }

    /// Handles the passing of time; does nothing before [`ClosingHandshake::poll_deadline`].
    pub fn handle_deadline(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.poll_deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let left = self.evidence.our_close_left();
        let end = self.evidence.half_end().unwrap_or(TransportEnd::Timeout);
        match self.phase {
            Phase::Open | Phase::Ended { .. } => {}
            // Section 5.5.1: an endpoint must answer, so it no longer waits for the application.
            Phase::CloseReceived { deadline, reply: Reply::Awaited { .. } }
                if !self.slack().is_zero() =>
            {
                self.reply_in_kind(actions);
                // However late this runs, the answer gets its time to leave.
                let deadline = deadline.max(now + self.slack());
                self.phase = Phase::CloseReceived { deadline, reply: Reply::Queued };
            }
            Phase::CloseSent { .. } => {
                let what = match left {
                    true => "the peer did not answer our Close in time",
                    false => "our Close could not leave in time",
                };
                self.evidence.fix_kind(Kind::CloseTimeout, what, None);
                self.finish(end, !left, actions);
            }
            Phase::CloseReceived { .. } => {
                let what = "our answer could not leave in time";
                self.evidence.fix_kind(Kind::CloseTimeout, what, None);
                self.finish(end, true, actions);
            }
            // Section 7.1.1: the peer did not end TCP in a reasonable time.
            Phase::AwaitingTransportEnd { .. } => self.finish(end, false, actions),
            Phase::Failing { .. } if self.evidence.is_silent() => {
                let end = self.evidence.half_end().unwrap_or(TransportEnd::Local);
                self.finish(end, !left, actions);
            }
            Phase::Failing { .. } => self.finish(end, !left, actions),
            Phase::Flushing { .. } => self.finish(end, true, actions),
        }
    }

    fn handle_close_accepted(&mut self, now: Instant, request: CloseRequest) {
        let CloseRequest { frame, cause, by, limit, backend_closed } = request;
        if !self.evidence.close_accepted(frame) {
            return;
        }
        let is_first_cause = self.evidence.note_cause(cause);
        if is_first_cause {
            self.evidence.note_limit(limit);
            self.evidence.note_backend_closed(backend_closed);
        }
        match self.phase {
            // Section 7.1.2, _Start the WebSocket Closing Handshake_.
            Phase::Open => {
                self.evidence.note_requester(by);
                self.phase = Phase::CloseSent { deadline: now + self.policy.timeout };
            }
            // Section 5.5.1: the application's answer to the peer's Close; or a close that was
            // accepted just before the answer of our own was queued, and takes its place.
            Phase::CloseReceived { deadline, .. } => {
                self.evidence.note_requester(by);
                self.phase = Phase::CloseReceived { deadline, reply: Reply::Queued };
            }
            // It was accepted before this machine's own Close could be queued, or before the outbox
            // was shut: its frame is the one that goes, and the phase stays what it is.
            Phase::Flushing { .. }
            | Phase::Failing { .. }
            | Phase::CloseSent { .. }
            | Phase::Ended { .. } => {
                if is_first_cause {
                    self.evidence.note_requester(by);
                }
            }
            Phase::AwaitingTransportEnd { .. } => {}
        }
    }

    /// Section 5.5.1: answers with the status code that was received.
    fn reply_in_kind(&mut self, actions: &mut Vec<Action>) {
        let frame = self.evidence.peer_close().map_or(CloseFrame::Empty, ReceivedClose::in_kind);
        self.reply(frame, false, actions);
    }

    /// Sends the answer, if it is still awaited.
    fn reply(&mut self, frame: CloseFrame, shed: bool, actions: &mut Vec<Action>) {
        if let Phase::CloseReceived { deadline, reply: Reply::Awaited { .. } } = self.phase {
            self.phase = Phase::CloseReceived { deadline, reply: Reply::Queued };
            self.send_close(frame, shed, actions);
        }
    }

    fn handle_peer_close(
        &mut self,
        now: Instant,
        close: ReceivedClose,
        breach: Option<Breach>,
        actions: &mut Vec<Action>,
    ) {
        if !self.evidence.peer_closed(close, now) {
            // Section 5.5.1: no frame may follow a Close; one that does is ignored.
            return;
        }
        match (self.phase, breach) {
            // Section 5.5.1: a Close that comes first is answered with a Close, which may wait until
            // the message in progress is sent.
            (Phase::Open, None) => {
                self.evidence.note_cause(Cause::Peer);
                let deadline = now + self.policy.timeout;
                // A chosen reply that does not come is replaced while it can still leave in time.
                let until = deadline - self.slack();
                self.phase = Phase::CloseReceived { deadline, reply: Reply::Awaited { until } };
                match self.policy.reply {
                    ReplyPolicy::AtOnce => self.reply_in_kind(actions),
                    ReplyPolicy::Chosen => {}
                }
            }
            // Section 7.1.4: one Close each way, and the closing handshake is complete.
            (Phase::CloseSent { .. }, None) if self.evidence.our_close_left() => {
                self.await_transport_end(now, actions);
            }
            // Section 7.1.5: both Closes cross; ours, which is queued, is the answer.
            (Phase::CloseSent { deadline }, None) => {
                self.phase = Phase::CloseReceived { deadline, reply: Reply::Queued };
            }
            // Sections 5.5.1, 7.4 and 8.1: a short payload, a code that may not be sent, or a reason
            // that is not UTF-8.
            (Phase::Open | Phase::CloseSent { .. }, Some(breach)) => {
                self.fail_for(now, breach, actions);
            }
            // Failing already: the Close only adds evidence.
            (Phase::Failing { .. } | Phase::Flushing { .. }, _) => {}
            (
                Phase::CloseReceived { .. }
                | Phase::AwaitingTransportEnd { .. }
                | Phase::Ended { .. },
                _,
            ) => {}
        }
    }

    fn handle_close_flushed(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if !self.evidence.close_flushed(now) {
            return;
        }
        match self.phase {
            // Section 7.1.4: one Close each way, and the closing handshake is complete.
            Phase::CloseReceived { .. } => self.await_transport_end(now, actions),
            // Section 7.1.7: a Close was sent, and TCP is closed.
            Phase::Failing { .. } => self.end_failing(actions),
            Phase::Open
            | Phase::CloseSent { .. }
            | Phase::AwaitingTransportEnd { .. }
            | Phase::Flushing { .. }
            | Phase::Ended { .. } => {}
        }
    }

    fn handle_outbox_flushed(&mut self, actions: &mut Vec<Action>) {
        if let (Phase::Flushing { .. }, Some(end)) = (self.phase, self.evidence.half_end()) {
            self.finish(end, false, actions);
        }
    }

    fn handle_transport_ended(&mut self, now: Instant, loss: &Loss, actions: &mut Vec<Action>) {
        let end = loss.transport_end();
        let left = self.evidence.our_close_left();
        match self.phase {
            // Sections 7.1.4 and 7.1.5: closed, not cleanly, and the close code is 1006.
            Phase::Open | Phase::CloseSent { .. } => {
                let standing = match (self.evidence.has_our_close(), left) {
                    (false, _) => Standing::Open,
                    (true, false) => Standing::CloseQueued,
                    (true, true) => Standing::CloseLeft,
                };
                self.evidence.fix_kind(loss.kind(), loss.describe(standing), None);
                if end == TransportEnd::Fin && !left {
                    // The peer has ended its half only: it may still read what is queued.
                    self.evidence.peer_half_ended(end);
                    self.phase = Phase::Flushing { deadline: self.within_linger(now) };
                    actions.push(Action::FlushThenReport);
                } else {
                    self.finish(end, false, actions);
                }
            }
            // Close and FIN may come in one segment; the answer can still leave.
            Phase::CloseReceived { .. } if loss.is_half() => self.evidence.peer_half_ended(end),
            Phase::CloseReceived { .. } => {
                let what = loss.describe(Standing::AnswerQueued);
                self.evidence.fix_kind(loss.kind(), what, None);
                self.finish(end, false, actions);
            }
            Phase::Failing { .. } if loss.is_half() && !left => {
                self.evidence.peer_half_ended(end);
            }
            // Section 7.1.4: closed, cleanly if both Closes are through.
            Phase::AwaitingTransportEnd { .. } | Phase::Failing { .. } => {
                self.finish(end, false, actions);
            }
            // The kind is that of the FIN, and so is the end.
            Phase::Flushing { .. } => self.finish(TransportEnd::Fin, false, actions),
            Phase::Ended { .. } => {}
        }
    }

    fn slack(&self) -> Duration {
        ClosePolicy::slack(self.policy.timeout, self.policy.linger)
    }

    /// Section 7.1.1: the server ends TCP first; the client waits for that, for a bounded time.
    fn await_transport_end(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.phase = Phase::AwaitingTransportEnd { deadline: now + self.policy.linger };
        if let Some(end) = self.evidence.half_end() {
            self.finish(end, false, actions);
        } else if self.role == Role::Server {
            actions.push(Action::ShutdownWrite);
        }
    }

    fn send_close(&mut self, frame: CloseFrame, shed: bool, actions: &mut Vec<Action>) {
        self.evidence.close_decided(frame.clone());
        actions.push(Action::SendClose { frame, shed });
    }

    /// Returns when what fails now is to be gone: no later than was already due.
    fn within_linger(&self, now: Instant) -> Instant {
        let linger = now + self.policy.linger;
        self.poll_deadline().map_or(linger, |deadline| deadline.min(linger))
    }

    fn finish(&mut self, end: TransportEnd, reset: bool, actions: &mut Vec<Action>) {
        self.phase = Phase::Ended { end };
        actions.push(Action::Finish { reset, kind: self.evidence.kind() });
    }

    /// Ends a connection whose own actor or mover died, and draws up the outcome.
    ///
    /// Where the kind was fixed before, or both Closes were through, the death is only remarked.
    pub fn fail_actor(&mut self, what: &str) -> Outcome {
        let end = if self.evidence.is_decided() {
            self.evidence.remark(what);
            self.evidence.half_end().unwrap_or(TransportEnd::Local)
        } else {
            self.evidence.fix_kind(Kind::ActorFailed, what, None);
            TransportEnd::Local
        };
        self.phase = Phase::Ended { end };
        self.evidence.outcome(self.role, end)
    }
}
