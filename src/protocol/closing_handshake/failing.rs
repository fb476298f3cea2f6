//! What ends a connection other than a Close: violations, silence, overflow, failures and aborts.

use std::time::{Duration, Instant};

use super::{Action, ClosingHandshake, Phase, RelayLoss, Reply};
use crate::protocol::classification::Breach;
use crate::vocabulary::{Cause, CloseCode, CloseFrame, Kind, Limit, Requester, TransportEnd};

/// The reason of the Close that tells a peer of the loss of the other leg.
const RELAY_LOST: &str = "other side lost";

impl ClosingHandshake {
    pub(super) fn handle_violation(
        &mut self,
        now: Instant,
        breach: Breach,
        actions: &mut Vec<Action>,
    ) {
        match self.phase {
            Phase::Open | Phase::CloseSent { .. } => self.fail_for(now, breach, actions),
            // Section 5.5.1: what follows the peer's Close is ignored, whatever it is.
            Phase::CloseReceived { .. }
            | Phase::AwaitingTransportEnd { .. }
            | Phase::Failing { .. }
            | Phase::Flushing { .. }
            | Phase::Ended { .. } => {}
        }
    }

    pub(super) fn handle_pong_overdue(
        &mut self,
        now: Instant,
        silent: Duration,
        actions: &mut Vec<Action>,
    ) {
        if self.phase != Phase::Open {
            return; // the closing handshake has deadlines of its own
        }
        self.evidence.note_cause(Cause::Keepalive);
        let what = format!("the peer was silent for {} ms after our Ping", silent.as_millis());
        self.evidence.fix_kind(Kind::PongTimeout, what, None);
        // Section 7.4.1: 1011, a condition that prevents this end from going on.
        let frame = self.own_frame(CloseCode::INTERNAL_ERROR, "no pong");
        self.phase = Phase::Failing { deadline: self.within_linger(now) };
        self.send_close(frame, false, actions);
    }

    pub(super) fn handle_write_stalled(&mut self, limit: Limit, actions: &mut Vec<Action>) {
        if self.phase != Phase::Open {
            return;
        }
        self.evidence.note_cause(Cause::SlowConsumer);
        let what =
            format!("the peer took nothing of what was queued for it for {} ms", limit.observed);
        self.evidence.fix_kind(Kind::SlowConsumer, what, Some(limit));
        self.finish(TransportEnd::Local, true, actions);
    }

    pub(super) fn handle_overflow(
        &mut self,
        now: Instant,
        limit: Limit,
        actions: &mut Vec<Action>,
    ) {
        let what = format!("the outbox was full: {} of {} bytes", limit.observed, limit.limit);
        let frame = self.own_frame(CloseCode::TRY_AGAIN_LATER, "slow consumer");
        match self.phase {
            Phase::Open => {
                self.evidence.note_cause(Cause::SlowConsumer);
                self.evidence.fix_kind(Kind::SlowConsumer, what, Some(limit));
                self.phase = Phase::Failing { deadline: self.within_linger(now) };
                self.send_close(frame, true, actions);
            }
            // The application goes on sending before it answers, and the peer does not read.
            Phase::CloseReceived { reply: Reply::Awaited { .. }, .. } => {
                self.evidence.fix_kind(Kind::SlowConsumer, what, Some(limit));
                self.reply(frame, true, actions);
            }
            Phase::CloseReceived { reply: Reply::Queued, .. }
            | Phase::CloseSent { .. }
            | Phase::AwaitingTransportEnd { .. }
            | Phase::Failing { .. }
            | Phase::Flushing { .. }
            | Phase::Ended { .. } => {}
        }
    }

    /// Frees the memory of this connection. A Close is tried only where none is queued yet and the
    /// peer reads.
    pub(super) fn handle_memory_exhausted(
        &mut self,
        now: Instant,
        limit: Limit,
        what: String,
        reads: bool,
        actions: &mut Vec<Action>,
    ) {
        match self.phase {
            Phase::Open if reads => {
                self.evidence.note_cause(Cause::SlowConsumer);
                self.evidence.fix_kind(Kind::SlowConsumer, what, Some(limit));
                let frame = self.own_frame(CloseCode::TRY_AGAIN_LATER, "out of memory");
                self.phase = Phase::Failing { deadline: self.within_linger(now) };
                actions.push(Action::StopDelivery);
                self.send_close(frame, true, actions);
            }
            Phase::Open | Phase::CloseSent { .. } | Phase::CloseReceived { .. } => {
                self.evidence.note_cause(Cause::SlowConsumer);
                self.evidence.fix_kind(Kind::SlowConsumer, what, Some(limit));
                self.finish(TransportEnd::Local, true, actions);
            }
            // The kind is fixed, and a deadline of at most `linger` runs.
            Phase::AwaitingTransportEnd { .. } | Phase::Failing { .. } | Phase::Flushing { .. } => {
                self.finish(self.evidence.half_end().unwrap_or(TransportEnd::Local), true, actions);
            }
            Phase::Ended { .. } => {}
        }
    }

    pub(super) fn handle_backend_failed(
        &mut self,
        now: Instant,
        code: CloseCode,
        what: String,
        limit: Option<Limit>,
        actions: &mut Vec<Action>,
    ) {
        let frame = self.own_frame(code, "backend failed");
        match self.phase {
            Phase::Open => {
                self.evidence.note_cause(Cause::Backend);
                self.evidence.fix_kind(Kind::BackendFailed, what, limit);
                // The peer did nothing wrong: it gets the whole closing handshake.
                self.phase = Phase::CloseSent { deadline: now + self.policy.timeout };
                actions.push(Action::StopDelivery);
                self.send_close(frame, false, actions);
            }
            Phase::CloseSent { .. } => {
                self.evidence.fix_kind(Kind::BackendFailed, what, limit);
                actions.push(Action::StopDelivery);
            }
            Phase::CloseReceived { reply: Reply::Awaited { .. }, .. } => {
                self.evidence.fix_kind(Kind::BackendFailed, what, limit);
                self.reply(frame, false, actions);
            }
            Phase::CloseReceived { reply: Reply::Queued, .. }
            | Phase::AwaitingTransportEnd { .. }
            | Phase::Failing { .. }
            | Phase::Flushing { .. }
            | Phase::Ended { .. } => {}
        }
    }

    /// The other leg of a relay was lost. This one ends correctly as far as it can.
    pub(super) fn handle_relay_lost(
        &mut self,
        now: Instant,
        loss: RelayLoss,
        actions: &mut Vec<Action>,
    ) {
        let RelayLoss { what, kind, code, reason, cut } = loss;
        match (self.phase, code) {
            (Phase::Open, Some(code)) if !cut => {
                self.evidence.note_cause(Cause::RelayPeer);
                // A code that was chosen for a leg that left is a Close like any other.
                if kind != Kind::Aborted {
                    self.evidence.fix_kind(kind, what, None);
                    actions.push(Action::StopDelivery);
                }
                let frame = self.own_frame(code, reason.as_deref().unwrap_or(RELAY_LOST));
                self.phase = Phase::CloseSent { deadline: now + self.policy.timeout };
                self.send_close(frame, false, actions);
            }
            (Phase::Open, None) => self.cut(kind, Cause::RelayPeer, None, &what, actions),
            // Section 5.5.1: its Close must be answered, and the leg that was to choose is gone.
            (Phase::CloseReceived { reply: Reply::Awaited { .. }, .. }, _) if !cut => {
                self.reply_in_kind(actions);
            }
            (Phase::Open | Phase::CloseSent { .. } | Phase::CloseReceived { .. }, _) if cut => {
                let what = format!("{what}; it was passed on in part, so no Close could follow");
                self.evidence.fix_kind_for_relay(kind, &*what);
                self.cut(kind, Cause::RelayPeer, None, &what, actions);
            }
            // The closing handshake is under way, and ends by itself.
            (
                Phase::Open
                | Phase::CloseSent { .. }
                | Phase::CloseReceived { .. }
                | Phase::AwaitingTransportEnd { .. }
                | Phase::Failing { .. }
                | Phase::Flushing { .. }
                | Phase::Ended { .. },
                _,
            ) => {}
        }
    }

    /// Drops the connection because this end wants it gone (section 7.1.7: a Close may be left out).
    pub(super) fn cut(
        &mut self,
        kind: Kind,
        cause: Cause,
        by: Option<Requester>,
        what: &str,
        actions: &mut Vec<Action>,
    ) {
        let end = match self.phase {
            Phase::Open | Phase::CloseSent { .. } | Phase::CloseReceived { .. } => {
                self.evidence.note_cause(cause);
                self.evidence.fix_kind(kind, what, None);
                if by.is_some() {
                    self.evidence.note_requester(by);
                }
                TransportEnd::Local
            }
            // Both Closes are through, or the kind is fixed: only the wait is cut short.
            Phase::AwaitingTransportEnd { .. } | Phase::Failing { .. } | Phase::Flushing { .. } => {
                self.evidence.half_end().unwrap_or(TransportEnd::Local)
            }
            Phase::Ended { .. } => return,
        };
        self.finish(end, true, actions);
    }

    /// Section 7.1.7, _Fail the WebSocket Connection_, for what the peer did: a Close with an
    /// appropriate code is sent, and no more of its data is processed.
    pub(super) fn fail_for(&mut self, now: Instant, breach: Breach, actions: &mut Vec<Action>) {
        self.evidence.note_cause(Cause::Violation);
        let frame = self.own_frame(breach.close_code(), &breach.phrase());
        self.evidence.fix_kind(breach.kind(), breach.describe(), breach.into_limit());
        self.phase = Phase::Failing { deadline: self.within_linger(now) };
        actions.push(Action::StopDelivery);
        if self.evidence.our_close_left() {
            self.end_failing(actions);
        } else if !self.evidence.has_our_close() {
            self.send_close(frame, false, actions);
        }
    }

    /// Section 7.1.7: our Close has left, so TCP is closed; the peer's end is awaited for a bounded
    /// time, so that it can read the Close (section 7.1.1).
    pub(super) fn end_failing(&mut self, actions: &mut Vec<Action>) {
        if let Some(end) = self.evidence.half_end() {
            self.finish(end, false, actions);
        } else if self.evidence.is_silent() {
            // The peer does not answer.
            self.finish(TransportEnd::Local, false, actions);
        } else {
            actions.push(Action::ShutdownWrite);
        }
    }

    /// Words a Close of our own.
    fn own_frame(&self, code: CloseCode, reason: &str) -> CloseFrame {
        CloseFrame::signed(code, reason, self.policy.signature.as_deref())
    }
}
