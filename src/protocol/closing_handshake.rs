//! The closing handshake of RFC 6455 section 7 as a state machine, for both roles.
//!
//! It takes facts ([`Input`]) and the time, and returns what is to be done ([`Action`]). Whatever
//! order the facts come in, it finishes exactly once, asks for at most one Close frame, and has a
//! deadline in every state but `Open`.
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

use std::time::{Duration, Instant};

use super::classification::{self, Breach, Loss};
use crate::vocabulary::{
    Cause, CloseCode, CloseFrame, CloseState, FirstClose, Kind, Limit, Outcome, Requester, Role,
    TransportEnd,
};

mod evidence;
#[cfg(test)]
mod tests;
mod words;

use evidence::{Evidence, OurClose, Trigger};
pub use words::{Action, ClosePolicy, CloseRequest, Input, ReplyPolicy};

/// The closing handshake of one connection.
#[derive(Debug)]
pub struct ClosingHandshake {
    role: Role,
    policy: ClosePolicy,
    phase: Phase,
    evidence: Evidence,
}

/// Where the machine stands. `Open` and `Ended` have no deadline, every other state has one.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Open,
    CloseSent { deadline: Instant },
    CloseReceived { deadline: Instant, reply: Reply },
    AwaitingTransportEnd { deadline: Instant },
    Failing { deadline: Instant },
    Flushing { deadline: Instant },
    Ended,
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
        self.evidence.cause
    }

    /// Tells whether the connection has ended.
    pub fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Returns when [`ClosingHandshake::handle_deadline`] is due.
    pub fn poll_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Open | Phase::Ended => None,
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
        if self.is_ended() {
            return;
        }
        match input {
            Input::CloseAccepted(request) => self.handle_close_accepted(now, request),
            Input::ReplyInKind => self.reply_in_kind(actions),
            Input::Abort { cause, by } => {
                self.evidence.acts(cause);
                self.cut(Kind::Aborted, by, "the connection was aborted here", actions);
            }
            Input::PeerClose(payload) => self.handle_peer_close(now, &payload, actions),
            Input::CloseFlushed => self.handle_close_flushed(now, actions),
            Input::OutboxFlushed => self.handle_outbox_flushed(actions),
            Input::TransportEnded(loss) => self.handle_transport_ended(now, loss, actions),
            Input::Violation(breach) => self.handle_violation(now, breach, actions),
            Input::PongOverdue { silent } => self.handle_pong_overdue(now, silent, actions),
            Input::WriteStalled(limit) => self.handle_write_stalled(limit, actions),
            Input::OutboxOverflow(limit) => self.handle_overflow(now, limit, actions),
            Input::BackendFailed { code, what, limit } => {
                self.handle_backend_failed(now, code, what, limit, actions);
            }
            Input::DrainDeadline(by) => {
                self.evidence.acts(Cause::Drain);
                self.cut(
                    Kind::DrainDeadline,
                    by,
                    "it was still open when the drain's deadline passed",
                    actions,
                );
            }
        }
    }

    /// Takes note that time has passed; does nothing before [`ClosingHandshake::poll_deadline`].
    pub fn handle_deadline(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.poll_deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match self.phase {
            Phase::Open | Phase::Ended => {}
            Phase::CloseReceived { deadline, reply: Reply::Awaited { .. } } if now < deadline => {
                self.reply_in_kind(actions);
            }
            Phase::CloseSent { .. } => {
                let (what, left) = match self.evidence.ours {
                    OurClose::Left(..) => ("the peer did not answer our Close in time", true),
                    OurClose::None | OurClose::Queued(_) => {
                        ("our Close could not leave in time", false)
                    }
                };
                self.evidence.trigger(Kind::CloseTimeout, what, None);
                self.finish(TransportEnd::Timeout, !left, actions);
            }
            Phase::CloseReceived { .. } => {
                self.evidence.trigger(
                    Kind::CloseTimeout,
                    "our answer to the peer's Close could not leave in time",
                    None,
                );
                self.finish(TransportEnd::Timeout, true, actions);
            }
            Phase::AwaitingTransportEnd { .. } => {
                self.finish(TransportEnd::Timeout, false, actions)
            }
            Phase::Failing { .. } => {
                let end = match self.evidence.trigger {
                    Some(Trigger { kind: Kind::PongTimeout, .. }) => TransportEnd::Local,
                    Some(_) | None => TransportEnd::Timeout,
                };
                self.finish(end, !self.evidence.our_close_left(), actions);
            }
            Phase::Flushing { .. } => self.finish(TransportEnd::Fin, true, actions),
        }
    }

    fn handle_close_accepted(&mut self, now: Instant, request: CloseRequest) {
        let CloseRequest { frame, cause, by, limit } = request;
        match self.phase {
            Phase::Open => {
                self.evidence.acts(cause);
                self.evidence.by = by;
                self.evidence.limit = limit;
                self.evidence.ours = OurClose::Queued(frame);
                self.phase = Phase::CloseSent { deadline: now + self.policy.timeout };
            }
            // The application's answer to the peer's Close (section 5.5.1); or a close that was
            // queued just before the answer of our own, and takes its place.
            Phase::CloseReceived { deadline, .. } if !self.evidence.our_close_left() => {
                self.evidence.by = by;
                self.evidence.ours = OurClose::Queued(frame);
                self.phase = Phase::CloseReceived { deadline, reply: Reply::Queued };
            }
            // A close raced with a failure and got into the outbox first: it is the frame that goes.
            Phase::Failing { .. } | Phase::Flushing { .. } if !self.evidence.our_close_left() => {
                self.evidence.ours = OurClose::Queued(frame);
            }
            // A second close: same ending, no second frame.
            Phase::CloseSent { .. }
            | Phase::CloseReceived { .. }
            | Phase::AwaitingTransportEnd { .. }
            | Phase::Failing { .. }
            | Phase::Flushing { .. }
            | Phase::Ended => {}
        }
    }

    /// Section 5.5.1: answer with the status code that was received.
    fn reply_in_kind(&mut self, actions: &mut Vec<Action>) {
        let Phase::CloseReceived { deadline, reply: Reply::Awaited { .. } } = self.phase else {
            return;
        };
        let frame =
            self.evidence.theirs.as_ref().map_or(CloseFrame::Empty, |(close, _)| close.in_kind());
        self.phase = Phase::CloseReceived { deadline, reply: Reply::Queued };
        self.send_close(frame, false, actions);
    }

    fn handle_peer_close(&mut self, now: Instant, payload: &[u8], actions: &mut Vec<Action>) {
        if self.evidence.theirs.is_some() {
            // Section 5.5.1: nothing may follow a Close; what does is ignored.
            return;
        }
        let (close, breach) = classification::read_close(payload);
        self.evidence.theirs = Some((close, now));
        if self.evidence.first_close == FirstClose::None {
            self.evidence.first_close = FirstClose::Peer;
        }
        match (self.phase, breach) {
            (Phase::Open, None) => {
                self.evidence.acts(Cause::Peer);
                let deadline = now + self.policy.timeout;
                // A chosen reply that does not come is replaced while it can still leave in time.
                let slack = self.policy.linger.min(self.policy.timeout / 2);
                let until = deadline - slack;
                self.phase = Phase::CloseReceived { deadline, reply: Reply::Awaited { until } };
                match self.policy.reply {
                    ReplyPolicy::AtOnce => self.reply_in_kind(actions),
                    ReplyPolicy::Chosen => {}
                }
            }
            (Phase::CloseSent { deadline }, None) => match self.evidence.ours {
                OurClose::Left(..) => self.await_transport_end(now, actions),
                OurClose::None | OurClose::Queued(_) => {
                    self.phase = Phase::CloseReceived { deadline, reply: Reply::Queued };
                }
            },
            (Phase::Open | Phase::CloseSent { .. }, Some(breach)) => {
                self.fail_for(now, breach, actions)
            }
            // Failing already: the Close only adds evidence.
            (Phase::Failing { .. } | Phase::Flushing { .. }, _) => {}
            (
                Phase::CloseReceived { .. } | Phase::AwaitingTransportEnd { .. } | Phase::Ended,
                _,
            ) => {}
        }
    }

    fn handle_close_flushed(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let OurClose::Queued(frame) = std::mem::replace(&mut self.evidence.ours, OurClose::None)
        else {
            return;
        };
        self.evidence.ours = OurClose::Left(frame, now);
        if self.evidence.first_close == FirstClose::None {
            self.evidence.first_close = FirstClose::Local;
        }
        match self.phase {
            Phase::CloseReceived { .. } => self.await_transport_end(now, actions),
            Phase::Failing { .. } => self.end_failing(actions),
            Phase::Open
            | Phase::CloseSent { .. }
            | Phase::AwaitingTransportEnd { .. }
            | Phase::Flushing { .. }
            | Phase::Ended => {}
        }
    }

    fn handle_outbox_flushed(&mut self, actions: &mut Vec<Action>) {
        if let Phase::Flushing { .. } = self.phase {
            self.finish(TransportEnd::Fin, false, actions);
        }
    }

    fn handle_transport_ended(&mut self, now: Instant, loss: Loss, actions: &mut Vec<Action>) {
        let end = loss.transport_end();
        let is_fin = end == TransportEnd::Fin;
        match self.phase {
            Phase::Open | Phase::CloseSent { .. } => {
                let answering = matches!(self.phase, Phase::CloseSent { .. });
                self.evidence.trigger(loss.kind(), loss.describe(answering), None);
                let left = self.evidence.our_close_left();
                if is_fin && !left {
                    // The peer has ended its half only: it may still read what we had to say.
                    let linger = now + self.policy.linger;
                    let deadline =
                        self.poll_deadline().map_or(linger, |deadline| deadline.min(linger));
                    self.phase = Phase::Flushing { deadline };
                    actions.push(Action::FlushThenTell);
                } else {
                    self.finish(end, false, actions);
                }
            }
            // Close and FIN may come in one segment; the answer can still leave.
            Phase::CloseReceived { .. } if is_fin => self.evidence.peer_fin = true,
            Phase::CloseReceived { .. } => {
                self.evidence.trigger(loss.kind(), loss.describe(false), None);
                self.finish(end, false, actions);
            }
            Phase::AwaitingTransportEnd { .. } => self.finish(end, false, actions),
            Phase::Failing { .. } if is_fin && !self.evidence.our_close_left() => {
                self.evidence.peer_fin = true
            }
            Phase::Failing { .. } => self.finish(end, false, actions),
            Phase::Flushing { .. } => self.finish(TransportEnd::Fin, false, actions),
            Phase::Ended => {}
        }
    }

    fn handle_violation(&mut self, now: Instant, breach: Breach, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Open | Phase::CloseSent { .. } => self.fail_for(now, breach, actions),
            Phase::CloseReceived { .. }
            | Phase::AwaitingTransportEnd { .. }
            | Phase::Failing { .. }
            | Phase::Flushing { .. }
            | Phase::Ended => {}
        }
    }

    fn handle_pong_overdue(&mut self, now: Instant, silent: Duration, actions: &mut Vec<Action>) {
        if self.phase != Phase::Open {
            return; // the closing handshake has deadlines of its own
        }
        self.evidence.acts(Cause::Keepalive);
        self.evidence.trigger(
            Kind::PongTimeout,
            format!("the peer was silent for {} ms after our Ping", silent.as_millis()),
            None,
        );
        let frame = self.own_frame(CloseCode::INTERNAL_ERROR, "no pong");
        self.fail(now + self.policy.linger, Some((frame, false)), actions);
    }

    fn handle_write_stalled(&mut self, limit: Limit, actions: &mut Vec<Action>) {
        if self.phase != Phase::Open {
            return;
        }
        self.evidence.acts(Cause::SlowConsumer);
        let what =
            format!("the peer took nothing of what was queued for it for {} ms", limit.observed);
        self.evidence.trigger(Kind::SlowConsumer, what, Some(limit));
        self.finish(TransportEnd::Local, true, actions);
    }

    fn handle_overflow(&mut self, now: Instant, limit: Limit, actions: &mut Vec<Action>) {
        if self.phase != Phase::Open {
            return;
        }
        self.evidence.acts(Cause::SlowConsumer);
        let what = format!("the outbox was full: {} of {} bytes", limit.observed, limit.limit);
        self.evidence.trigger(Kind::SlowConsumer, what, Some(limit));
        let frame = self.own_frame(CloseCode::TRY_AGAIN_LATER, "slow consumer");
        self.fail(now + self.policy.linger, Some((frame, true)), actions);
    }

    fn handle_backend_failed(
        &mut self,
        now: Instant,
        code: CloseCode,
        what: String,
        limit: Option<Limit>,
        actions: &mut Vec<Action>,
    ) {
        match self.phase {
            Phase::Open => {
                self.evidence.acts(Cause::Backend);
                self.evidence.trigger(Kind::BackendFailed, what, limit);
                // The peer did nothing wrong: it gets the whole closing handshake.
                self.phase = Phase::CloseSent { deadline: now + self.policy.timeout };
                actions.push(Action::StopDelivery);
                self.send_close(self.own_frame(code, "backend failed"), false, actions);
            }
            Phase::CloseSent { .. } => {
                self.evidence.trigger(Kind::BackendFailed, what, limit);
                actions.push(Action::StopDelivery);
            }
            Phase::CloseReceived { deadline, reply: Reply::Awaited { .. } } => {
                self.evidence.trigger(Kind::BackendFailed, what, limit);
                self.phase = Phase::CloseReceived { deadline, reply: Reply::Queued };
                self.send_close(self.own_frame(code, "backend failed"), false, actions);
            }
            Phase::CloseReceived { reply: Reply::Queued, .. }
            | Phase::AwaitingTransportEnd { .. }
            | Phase::Failing { .. }
            | Phase::Flushing { .. }
            | Phase::Ended => {}
        }
    }

    /// Section 7.1.7, _Fail the WebSocket Connection_, for what the peer did.
    fn fail_for(&mut self, now: Instant, breach: Breach, actions: &mut Vec<Action>) {
        self.evidence.acts(Cause::Violation);
        let frame = self.own_frame(breach.close_code(), &breach.phrase());
        self.evidence.trigger(breach.kind(), breach.describe(), breach.into_limit());
        actions.push(Action::StopDelivery);
        let linger = now + self.policy.linger;
        let deadline = self.poll_deadline().map_or(linger, |deadline| deadline.min(linger));
        let close = match self.evidence.ours {
            OurClose::None => Some((frame, false)),
            // No second Close.
            OurClose::Queued(_) | OurClose::Left(..) => None,
        };
        self.fail(deadline, close, actions);
    }

    fn fail(
        &mut self,
        deadline: Instant,
        close: Option<(CloseFrame, bool)>,
        actions: &mut Vec<Action>,
    ) {
        self.phase = Phase::Failing { deadline };
        if let Some((frame, shed)) = close {
            self.send_close(frame, shed, actions);
        } else if self.evidence.our_close_left() {
            self.end_failing(actions);
        }
    }

    /// Our Close has left a connection that is being failed: FIN, and a bounded wait for the peer's.
    fn end_failing(&mut self, actions: &mut Vec<Action>) {
        let silent = matches!(self.evidence.trigger, Some(Trigger { kind: Kind::PongTimeout, .. }));
        if silent {
            // Nobody is there to answer.
            self.finish(TransportEnd::Local, false, actions);
        } else if self.evidence.peer_fin {
            self.finish(TransportEnd::Fin, false, actions);
        } else {
            actions.push(Action::ShutdownWrite);
        }
    }

    /// Section 7.1.1: the server ends TCP first; the client waits for it, but not for ever.
    fn await_transport_end(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.phase = Phase::AwaitingTransportEnd { deadline: now + self.policy.linger };
        if self.evidence.peer_fin {
            self.finish(TransportEnd::Fin, false, actions);
        } else if self.role == Role::Server {
            actions.push(Action::ShutdownWrite);
        }
    }

    /// Ends the connection by our own will, whatever it was doing.
    fn cut(&mut self, kind: Kind, by: Option<Requester>, what: &str, actions: &mut Vec<Action>) {
        match self.phase {
            // Both Closes are through, or the verdict is fixed: only the wait is cut short.
            Phase::AwaitingTransportEnd { .. } | Phase::Failing { .. } | Phase::Flushing { .. } => {
            }
            Phase::Open | Phase::CloseSent { .. } | Phase::CloseReceived { .. } | Phase::Ended => {
                self.evidence.trigger(kind, what, None);
                if by.is_some() {
                    self.evidence.by = by;
                }
            }
        }
        let fin_seen = matches!(self.phase, Phase::Flushing { .. });
        self.finish(if fin_seen { TransportEnd::Fin } else { TransportEnd::Local }, true, actions);
    }

    fn send_close(&mut self, frame: CloseFrame, shed: bool, actions: &mut Vec<Action>) {
        self.evidence.ours = OurClose::Queued(frame.clone());
        actions.push(Action::SendClose { frame, shed });
    }

    fn own_frame(&self, code: CloseCode, reason: &str) -> CloseFrame {
        match &self.policy.signature {
            Some(signature) => CloseFrame::coded(code, &format!("{reason} [{signature}]")),
            None => CloseFrame::coded(code, reason),
        }
    }

    fn finish(&mut self, end: TransportEnd, reset: bool, actions: &mut Vec<Action>) {
        let outcome = self.evidence.outcome(self.role, end);
        self.phase = Phase::Ended;
        actions.push(Action::DropTransport { reset });
        actions.push(Action::Finish(Box::new(outcome)));
    }

    /// Draws up the verdict of a connection whose own actor or mover died.
    pub fn fail_actor(&mut self, what: &str) -> Outcome {
        self.evidence.trigger =
            Some(Trigger { kind: Kind::ActorFailed, what: what.to_owned(), limit: None });
        let outcome = self.evidence.outcome(self.role, TransportEnd::Local);
        self.phase = Phase::Ended;
        outcome
    }
}
