//! What a closing handshake has seen, and the outcome that follows from it.

use std::time::Instant;

use crate::protocol::classification;
use crate::vocabulary::{
    Cause, CloseFrame, CloseState, Direction, Fault, FirstClose, Kind, Limit, Outcome,
    ReceivedClose, Requester, Retry, Role, TransportEnd,
};

/// What has been seen. It only grows.
#[derive(Debug)]
pub(super) struct Evidence {
    /// What fixed the kind; a connection without one ends clean.
    trigger: Option<Trigger>,
    cause: Cause,
    by: Option<Requester>,
    /// The limit that made this end close.
    limit: Option<Limit>,
    first_close: FirstClose,
    ours: OurClose,
    theirs: Option<(ReceivedClose, Instant)>,
    /// How the peer ended its half while our Close was still to leave.
    half_end: Option<TransportEnd>,
    /// The loss of the other leg of a relay fixed the kind.
    relay_lost: bool,
    /// This end closes because the application behind the relay closed.
    backend_closed: bool,
}

/// What fixed the kind of the ending, and what a person should know about it.
#[derive(Debug)]
struct Trigger {
    kind: Kind,
    what: String,
    limit: Option<Limit>,
}

/// Where our Close stands.
#[derive(Debug, Clone)]
enum OurClose {
    None,
    /// We decided on this frame; an accepted close that got into the outbox first takes its place.
    Decided(CloseFrame),
    /// A close was accepted: this frame is the last item of the outbox.
    Accepted(CloseFrame),
    Left(CloseFrame, Instant),
}

impl Default for Evidence {
    fn default() -> Self {
        Self {
            trigger: None,
            cause: Cause::None,
            by: None,
            limit: None,
            first_close: FirstClose::None,
            ours: OurClose::None,
            theirs: None,
            half_end: None,
            relay_lost: false,
            backend_closed: false,
        }
    }
}

impl Evidence {
    /// Returns where the closing handshake stands, in the words of the contract.
    pub(super) fn state(&self) -> CloseState {
        match (&self.ours, &self.theirs) {
            (OurClose::None, None) => CloseState::Open,
            (OurClose::Decided(_) | OurClose::Accepted(_) | OurClose::Left(..), None) => {
                CloseState::CloseSent
            }
            (OurClose::None | OurClose::Decided(_) | OurClose::Accepted(_), Some(_)) => {
                CloseState::CloseReceived
            }
            (OurClose::Left(..), Some(_)) => CloseState::Closed,
        }
    }

    pub(super) fn cause(&self) -> Cause {
        self.cause
    }

    pub(super) fn our_close_left(&self) -> bool {
        matches!(self.ours, OurClose::Left(..))
    }

    /// Returns whether there is a Close of ours already, in the outbox or beyond.
    pub(super) fn has_our_close(&self) -> bool {
        match self.ours {
            OurClose::None => false,
            OurClose::Decided(_) | OurClose::Accepted(_) | OurClose::Left(..) => true,
        }
    }

    /// Returns the peer's Close.
    pub(super) fn peer_close(&self) -> Option<&ReceivedClose> {
        self.theirs.as_ref().map(|(close, _)| close)
    }

    /// Returns how the peer ended its half of the transport, if it has ended only that.
    pub(super) fn half_end(&self) -> Option<TransportEnd> {
        self.half_end
    }

    /// Returns whether the kind is fixed: by a trigger, or because both Closes are through.
    pub(super) fn is_decided(&self) -> bool {
        self.trigger.is_some() || self.state() == CloseState::Closed
    }

    /// Returns what fixed the kind of an ending that is not clean, and the limit that it was, if any.
    pub(super) fn loss(&self) -> Option<(Kind, &str, Option<&Limit>)> {
        let trigger = self.trigger.as_ref().filter(|trigger| trigger.kind != Kind::Clean)?;
        Some((trigger.kind, &trigger.what, trigger.limit.as_ref()))
    }

    /// Returns whether the peer was given up because it did not answer a Ping.
    pub(super) fn is_silent(&self) -> bool {
        self.trigger.as_ref().is_some_and(|trigger| trigger.kind == Kind::PongTimeout)
    }

    /// Keeps the first reason for this end to act; returns whether this was it.
    pub(super) fn note_cause(&mut self, cause: Cause) -> bool {
        let first = self.cause == Cause::None;
        if first {
            self.cause = cause;
        }
        first
    }

    /// Keeps whether the reason to close is that the application closed.
    pub(super) fn note_backend_closed(&mut self, backend_closed: bool) {
        self.backend_closed = backend_closed;
    }

    /// Keeps who asked.
    pub(super) fn note_requester(&mut self, by: Option<Requester>) {
        self.by = by;
    }

    /// Keeps the limit that made this end close.
    pub(super) fn note_limit(&mut self, limit: Option<Limit>) {
        self.limit = limit;
    }

    /// Fixes the kind, once: what comes later only adds evidence.
    pub(super) fn fix_kind(&mut self, kind: Kind, what: impl Into<String>, limit: Option<Limit>) {
        if self.trigger.is_none() {
            self.trigger = Some(Trigger { kind, what: what.into(), limit });
        }
    }

    /// Likewise, for the loss of the other leg of a relay.
    pub(super) fn fix_kind_for_relay(&mut self, kind: Kind, what: impl Into<String>) {
        self.relay_lost |= self.trigger.is_none();
        self.fix_kind(kind, what, None);
    }

    /// Adds what came after the trigger, or after both Closes, to what a person should know.
    pub(super) fn remark(&mut self, what: &str) {
        match &mut self.trigger {
            Some(trigger) => {
                trigger.what.push_str("; ");
                trigger.what.push_str(what);
            }
            None => self.fix_kind(Kind::Clean, what, None),
        }
    }

    /// Records a Close that we decided on.
    pub(super) fn close_decided(&mut self, frame: CloseFrame) {
        self.ours = OurClose::Decided(frame);
    }

    /// Records an accepted close; returns whether its frame is the one that goes.
    pub(super) fn close_accepted(&mut self, frame: CloseFrame) -> bool {
        match self.ours {
            OurClose::None | OurClose::Decided(_) => {
                self.ours = OurClose::Accepted(frame);
                true
            }
            // A second close: same ending, no second frame.
            OurClose::Accepted(_) | OurClose::Left(..) => false,
        }
    }

    /// Records that our Close has left; returns whether there was one to leave.
    pub(super) fn close_flushed(&mut self, now: Instant) -> bool {
        match std::mem::replace(&mut self.ours, OurClose::None) {
            OurClose::Decided(frame) | OurClose::Accepted(frame) => {
                self.ours = OurClose::Left(frame, now);
                self.closes_first(FirstClose::Local);
                true
            }
            settled @ (OurClose::None | OurClose::Left(..)) => {
                self.ours = settled;
                false
            }
        }
    }

    /// Records the peer's Close; returns whether it is the first.
    pub(super) fn peer_closed(&mut self, close: ReceivedClose, now: Instant) -> bool {
        if self.theirs.is_some() {
            return false;
        }
        self.theirs = Some((close, now));
        self.closes_first(FirstClose::Peer);
        true
    }

    /// Records that the peer has ended its half of the transport.
    pub(super) fn peer_half_ended(&mut self, end: TransportEnd) {
        self.half_end.get_or_insert(end);
    }

    fn closes_first(&mut self, who: FirstClose) {
        if self.first_close == FirstClose::None {
            self.first_close = who;
        }
    }

    /// Returns the kind, once it is fixed.
    pub(super) fn kind(&self) -> Kind {
        self.trigger.as_ref().map_or(Kind::Clean, |trigger| trigger.kind)
    }

    /// Draws up the outcome of a connection whose transport ended in this way.
    pub(super) fn outcome(&self, role: Role, end: TransportEnd) -> Outcome {
        let (what, limit) = match &self.trigger {
            Some(trigger) => (trigger.what.clone(), trigger.limit.as_ref()),
            None => (String::new(), None),
        };
        let (close_sent, sent_at) = match &self.ours {
            OurClose::Left(frame, at) => (Some(frame.clone()), Some(*at)),
            OurClose::None | OurClose::Decided(_) | OurClose::Accepted(_) => (None, None),
        };
        let state = match (self.state(), &self.ours) {
            // A 1011 to a silent peer and a 1013 to a slow one are only tried: no close was accepted.
            (CloseState::CloseSent, OurClose::Decided(_))
                if matches!(self.kind(), Kind::PongTimeout | Kind::SlowConsumer) =>
            {
                CloseState::Open
            }
            (state, _) => state,
        };
        let (close_received, received_at) = self.theirs.clone().unzip();
        let handshake = match (sent_at, received_at) {
            (Some(sent), Some(received)) => Some(sent.max(received) - sent.min(received)),
            (None, _) | (_, None) => None,
        };
        let mut outcome = Outcome {
            kind: self.kind(),
            fault: Fault::None,
            cause: self.cause,
            first_close: self.first_close,
            state: Some(state),
            close_sent,
            close_received,
            transport_end: Some(end),
            handshake,
            retry: Retry::Never,
            limit: limit.or(self.limit.as_ref()).cloned(),
            by: self.by.clone(),
            detail: what,
        };
        classification::judge(&mut outcome, direction(role));
        if self.relay_lost && outcome.kind == Kind::Aborted {
            // Whatever this end was doing, this end did not want it dropped.
            outcome.fault = Fault::None;
        }
        if self.backend_closed {
            classification::judge_backend_close(&mut outcome);
        }
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
