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
    Cause, CloseCode, CloseFrame, CloseState, Direction, Fault, FirstClose, Kind, Limit, Outcome,
    ReceivedClose, Requester, Retry, Role, TransportEnd,
};

#[cfg(test)]
mod tests;

/// How a connection closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosePolicy {
    /// How long the closing handshake may take, from the request or from the peer's Close.
    pub timeout: Duration,
    /// How long TCP may outlive both Closes, and a failed connection its failure.
    pub linger: Duration,
    /// When the peer's Close is answered.
    pub reply: ReplyPolicy,
    /// What is appended to the reasons that this end words itself.
    pub signature: Option<String>,
}

/// When the peer's Close is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyPolicy {
    /// At once, with the same code.
    AtOnce,
    /// When the application has chosen; else by ourselves, early enough to leave in time.
    Chosen,
}

/// A fact that the closing handshake is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A close was accepted: its frame is the last thing in the outbox.
    CloseAccepted(CloseRequest),
    /// The application has nothing to say to the peer's Close: answer it in kind.
    ReplyInKind,
    /// Drop the connection now.
    Abort {
        /// Why.
        cause: Cause,
        /// Who asked.
        by: Option<Requester>,
    },
    /// The peer's Close was read; its payload as it was on the wire, unmasked.
    PeerClose(Box<[u8]>),
    /// Our Close was wholly handed to the kernel.
    CloseFlushed,
    /// All that was queued was handed to the kernel, after [`Action::FlushThenTell`].
    OutboxFlushed,
    /// The transport ended, or its reading side did.
    TransportEnded(Loss),
    /// The peer broke a rule.
    Violation(Breach),
    /// The peer was silent for too long after our Ping.
    PongOverdue {
        /// For how long.
        silent: Duration,
    },
    /// Nothing could be written for `write_timeout`.
    WriteStalled(Limit),
    /// The outbox was full and `on_full` is `close`.
    OutboxOverflow(Limit),
    /// The backend failed.
    BackendFailed {
        /// The code that tells the peer.
        code: CloseCode,
        /// What happened, as half a sentence.
        what: String,
        /// The limit that it hit, if one.
        limit: Option<Limit>,
    },
    /// The drain's deadline passed.
    DrainDeadline(Option<Requester>),
}

/// A close that this end asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct CloseRequest {
    /// The frame.
    pub frame: CloseFrame,
    /// Why.
    pub cause: Cause,
    /// Who asked.
    pub by: Option<Requester>,
    /// The limit that was hit, if one is the reason.
    pub limit: Option<Limit>,
}

/// Something that is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Append this Close to the outbox and accept nothing after it.
    SendClose {
        /// The frame.
        frame: CloseFrame,
        /// Drop what is queued and not begun, so that the Close can leave.
        shed: bool,
    },
    /// Deliver no more messages; count those that come.
    StopDelivery,
    /// End our half of the transport (FIN).
    ShutdownWrite,
    /// Accept nothing more, write what is queued, then tell [`Input::OutboxFlushed`].
    FlushThenTell,
    /// Let go of the transport.
    DropTransport {
        /// Reset it, rather than ending it in order.
        reset: bool,
    },
    /// The connection has ended; this comes exactly once, and last.
    Finish(Box<Outcome>),
}

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

/// What has been seen. It only grows.
#[derive(Debug)]
struct Evidence {
    /// What fixed the kind; a connection without one ends clean.
    trigger: Option<Trigger>,
    cause: Cause,
    by: Option<Requester>,
    /// The limit that made this end close.
    limit: Option<Limit>,
    first_close: FirstClose,
    ours: OurClose,
    theirs: Option<(ReceivedClose, Instant)>,
    /// The peer's FIN was read while our Close was still to leave.
    peer_fin: bool,
}

/// What fixed the kind of the ending, and what a person should know about it.
#[derive(Debug)]
struct Trigger {
    kind: Kind,
    what: String,
    limit: Option<Limit>,
}

#[derive(Debug)]
enum OurClose {
    None,
    Queued(CloseFrame),
    Left(CloseFrame, Instant),
}

impl ClosingHandshake {
    /// Starts at `Open`.
    pub fn new(role: Role, policy: ClosePolicy) -> Self {
        Self {
            role,
            policy,
            phase: Phase::Open,
            evidence: Evidence {
                trigger: None,
                cause: Cause::None,
                by: None,
                limit: None,
                first_close: FirstClose::None,
                ours: OurClose::None,
                theirs: None,
                peer_fin: false,
            },
        }
    }

    /// Returns where the closing handshake stands, in the words of the contract.
    pub fn state(&self) -> CloseState {
        match (&self.evidence.ours, &self.evidence.theirs) {
            (OurClose::None, None) => CloseState::Open,
            (OurClose::Queued(_) | OurClose::Left(..), None) => CloseState::CloseSent,
            (OurClose::None | OurClose::Queued(_), Some(_)) => CloseState::CloseReceived,
            (OurClose::Left(..), Some(_)) => CloseState::Closed,
        }
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
                self.acts(cause);
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
                self.acts(Cause::Drain);
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
                self.trigger(Kind::CloseTimeout, what, None);
                self.finish(TransportEnd::Timeout, !left, actions);
            }
            Phase::CloseReceived { .. } => {
                self.trigger(
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
                self.finish(end, !self.our_close_left(), actions);
            }
            Phase::Flushing { .. } => self.finish(TransportEnd::Fin, true, actions),
        }
    }

    fn handle_close_accepted(&mut self, now: Instant, request: CloseRequest) {
        let CloseRequest { frame, cause, by, limit } = request;
        match self.phase {
            Phase::Open => {
                self.acts(cause);
                self.evidence.by = by;
                self.evidence.limit = limit;
                self.evidence.ours = OurClose::Queued(frame);
                self.phase = Phase::CloseSent { deadline: now + self.policy.timeout };
            }
            // The application's answer to the peer's Close (section 5.5.1); or a close that was
            // queued just before the answer of our own, and takes its place.
            Phase::CloseReceived { deadline, .. } if !self.our_close_left() => {
                self.evidence.by = by;
                self.evidence.ours = OurClose::Queued(frame);
                self.phase = Phase::CloseReceived { deadline, reply: Reply::Queued };
            }
            // A close raced with a failure and got into the outbox first: it is the frame that goes.
            Phase::Failing { .. } | Phase::Flushing { .. } if !self.our_close_left() => {
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
                self.acts(Cause::Peer);
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
                self.trigger(loss.kind(), loss.describe(answering), None);
                let left = self.our_close_left();
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
                self.trigger(loss.kind(), loss.describe(false), None);
                self.finish(end, false, actions);
            }
            Phase::AwaitingTransportEnd { .. } => self.finish(end, false, actions),
            Phase::Failing { .. } if is_fin && !self.our_close_left() => {
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
        self.acts(Cause::Keepalive);
        self.trigger(
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
        self.acts(Cause::SlowConsumer);
        let what =
            format!("the peer took nothing of what was queued for it for {} ms", limit.observed);
        self.trigger(Kind::SlowConsumer, what, Some(limit));
        self.finish(TransportEnd::Local, true, actions);
    }

    fn handle_overflow(&mut self, now: Instant, limit: Limit, actions: &mut Vec<Action>) {
        if self.phase != Phase::Open {
            return;
        }
        self.acts(Cause::SlowConsumer);
        let what = format!("the outbox was full: {} of {} bytes", limit.observed, limit.limit);
        self.trigger(Kind::SlowConsumer, what, Some(limit));
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
                self.acts(Cause::Backend);
                self.trigger(Kind::BackendFailed, what, limit);
                // The peer did nothing wrong: it gets the whole closing handshake.
                self.phase = Phase::CloseSent { deadline: now + self.policy.timeout };
                actions.push(Action::StopDelivery);
                self.send_close(self.own_frame(code, "backend failed"), false, actions);
            }
            Phase::CloseSent { .. } => {
                self.trigger(Kind::BackendFailed, what, limit);
                actions.push(Action::StopDelivery);
            }
            Phase::CloseReceived { deadline, reply: Reply::Awaited { .. } } => {
                self.trigger(Kind::BackendFailed, what, limit);
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
        self.acts(Cause::Violation);
        let frame = self.own_frame(breach.close_code(), &breach.phrase());
        self.trigger(breach.kind(), breach.describe(), breach.into_limit());
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
        } else if self.our_close_left() {
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
                self.trigger(kind, what, None);
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

    fn our_close_left(&self) -> bool {
        matches!(self.evidence.ours, OurClose::Left(..))
    }

    /// Keeps the first reason for this end to act.
    fn acts(&mut self, cause: Cause) {
        if self.evidence.cause == Cause::None {
            self.evidence.cause = cause;
        }
    }

    /// Keeps the first trigger: what comes later only adds evidence.
    fn trigger(&mut self, kind: Kind, what: impl Into<String>, limit: Option<Limit>) {
        if self.evidence.trigger.is_none() {
            self.evidence.trigger = Some(Trigger { kind, what: what.into(), limit });
        }
    }

    fn finish(&mut self, end: TransportEnd, reset: bool, actions: &mut Vec<Action>) {
        let outcome = self.outcome(end);
        self.phase = Phase::Ended;
        actions.push(Action::DropTransport { reset });
        actions.push(Action::Finish(Box::new(outcome)));
    }

    /// Draws up the verdict of a transport that ended in this way.
    fn outcome(&mut self, end: TransportEnd) -> Outcome {
        let mut state = self.state();
        let evidence = &mut self.evidence;
        let trigger = evidence.trigger.take();
        let (kind, what, limit) = match trigger {
            Some(Trigger { kind, what, limit }) => (kind, what, limit.or(evidence.limit.take())),
            None => (Kind::Clean, String::new(), evidence.limit.take()),
        };
        let ours = std::mem::replace(&mut evidence.ours, OurClose::None);
        let (close_sent, sent_at) = match ours {
            OurClose::Left(frame, at) => (Some(frame), Some(at)),
            OurClose::None => (None, None),
            OurClose::Queued(_) => {
                // A 1011 to a silent peer is only tried: nobody accepted a close.
                if kind == Kind::PongTimeout && state == CloseState::CloseSent {
                    state = CloseState::Open;
                }
                (None, None)
            }
        };
        let (close_received, received_at) = evidence.theirs.take().unzip();
        let handshake = match (sent_at, received_at) {
            (Some(sent), Some(received)) => Some(sent.max(received) - sent.min(received)),
            (None, _) | (_, None) => None,
        };
        let mut outcome = Outcome {
            kind,
            fault: Fault::None,
            cause: evidence.cause,
            first_close: evidence.first_close,
            state: Some(state),
            close_sent,
            close_received,
            transport_end: Some(end),
            handshake,
            retry: Retry::Never,
            limit,
            by: evidence.by.take(),
            detail: what,
        };
        classification::judge(&mut outcome, direction(self.role));
        outcome
    }

    /// Draws up the verdict of a connection whose own actor or mover died.
    pub fn fail_actor(&mut self, what: &str) -> Outcome {
        self.evidence.trigger =
            Some(Trigger { kind: Kind::ActorFailed, what: what.to_owned(), limit: None });
        let outcome = self.outcome(TransportEnd::Local);
        self.phase = Phase::Ended;
        outcome
    }
}

/// A connection that we dialled has us as the client.
fn direction(role: Role) -> Direction {
    match role {
        Role::Server => Direction::Inbound,
        Role::Client => Direction::Outbound,
    }
}
