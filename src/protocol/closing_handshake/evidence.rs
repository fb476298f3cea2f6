//! What a closing handshake has seen, and the verdict that it comes to.

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
    pub(super) trigger: Option<Trigger>,
    pub(super) cause: Cause,
    pub(super) by: Option<Requester>,
    /// The limit that made this end close.
    pub(super) limit: Option<Limit>,
    pub(super) first_close: FirstClose,
    pub(super) ours: OurClose,
    pub(super) theirs: Option<(ReceivedClose, Instant)>,
    /// The peer's FIN was read while our Close was still to leave.
    pub(super) peer_fin: bool,
}

/// What fixed the kind of the ending, and what a person should know about it.
#[derive(Debug)]
pub(super) struct Trigger {
    pub(super) kind: Kind,
    pub(super) what: String,
    pub(super) limit: Option<Limit>,
}

#[derive(Debug)]
pub(super) enum OurClose {
    None,
    Queued(CloseFrame),
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
            peer_fin: false,
        }
    }
}

impl Evidence {
    /// Returns where the closing handshake stands, in the words of the contract.
    pub(super) fn state(&self) -> CloseState {
        match (&self.ours, &self.theirs) {
            (OurClose::None, None) => CloseState::Open,
            (OurClose::Queued(_) | OurClose::Left(..), None) => CloseState::CloseSent,
            (OurClose::None | OurClose::Queued(_), Some(_)) => CloseState::CloseReceived,
            (OurClose::Left(..), Some(_)) => CloseState::Closed,
        }
    }

    /// Keeps the first reason for this end to act.
    pub(super) fn acts(&mut self, cause: Cause) {
        if self.cause == Cause::None {
            self.cause = cause;
        }
    }

    /// Keeps the first trigger: what comes later only adds evidence.
    pub(super) fn trigger(&mut self, kind: Kind, what: impl Into<String>, limit: Option<Limit>) {
        if self.trigger.is_none() {
            self.trigger = Some(Trigger { kind, what: what.into(), limit });
        }
    }

    pub(super) fn our_close_left(&self) -> bool {
        matches!(self.ours, OurClose::Left(..))
    }

    /// Draws up the verdict of a transport that ended in this way.
    pub(super) fn outcome(&mut self, role: Role, end: TransportEnd) -> Outcome {
        let mut state = self.state();
        let evidence = self;
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
        classification::judge(&mut outcome, direction(role));
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
