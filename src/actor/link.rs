//! A relay: two connections, a client's and one to an application, that pass frames to each other.
//!
//! Both are connections of their own, with one actor and one ending each. What joins them is a
//! [`Link`] in each direction: the mover of a leg passes frames and the peer's Close along it, its
//! decider tells along it that the leg is lost. A Close goes to the other side with the same code
//! and reason, and so does the answer that comes back: both are a Close that was read here and is to
//! be sent there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::connection::Connection;
use crate::protocol::closing_handshake::{CloseRequest, Input, RelayLoss};
use crate::protocol::passage::{Masker, Passage};
use crate::vocabulary::{Cause, CloseCode, CloseFrame, Kind, Limit};

/// Whose leg it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The client's, or that of a feed that was dialled.
    Client,
    /// The application's.
    Application,
}

/// What the loss of a leg means for the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Losses {
    /// The code that the application gets when its client is lost; without one it is dropped.
    pub(crate) on_client_lost: Option<CloseCode>,
    /// The code that the client gets when the application is lost.
    pub(crate) on_backend_lost: CloseCode,
    /// What the other end than the application is called.
    pub(crate) caller: &'static str,
}

/// A leg at work: what may pass, and where it goes.
pub(crate) struct Leg {
    pub(crate) passage: Passage,
    pub(crate) link: Arc<Link>,
    /// Masks what passes where both ends are servers.
    pub(crate) masker: Option<Masker>,
    /// What was passed on last did not end its frame.
    pub(crate) mid_frame: bool,
    /// The peer broke the protocol: what it says after that is evidence, and does not pass.
    pub(crate) broken: bool,
}

/// The way from one leg of a relay to the other. Dropped with the actor and the mover of the leg, it
/// tells that the leg is lost, unless that was told, or its Close went before.
pub(crate) struct Link {
    pub(crate) other: Arc<Connection>,
    side: Side,
    losses: Losses,
    told: AtomicBool,
}

impl Link {
    /// Makes the way from the leg of this side to the `other`.
    pub(crate) fn new(side: Side, other: Arc<Connection>, losses: Losses) -> Arc<Self> {
        Arc::new(Self { other, side, losses, told: AtomicBool::new(false) })
    }

    /// Passes the peer's Close on: as a Close of its own, or as the answer that the other side
    /// waits for. `is_answer`: the peer answered a Close of ours.
    pub(crate) fn pass_close(&self, frame: CloseFrame, is_answer: bool) {
        // Nothing follows it here: a message that it cut short will not end.
        self.other.outbox.end_passing();
        let request = CloseRequest {
            backend_closed: self.side == Side::Application && !is_answer,
            ..CloseRequest::new(frame, Cause::RelayPeer)
        };
        if !self.other.close(request) {
            self.other.mover.wake();
        }
    }

    /// Tells, once, that this leg cannot go on.
    pub(crate) fn lose(&self, kind: Kind, what: &str, limit: Option<&Limit>) {
        if self.told.swap(true, Ordering::AcqRel) {
            return;
        }
        let cut = self.other.outbox.end_passing();
        let code = match (self.side, kind) {
            (Side::Client, _) => self.losses.on_client_lost,
            // It did not leave, it failed.
            (
                Side::Application,
                Kind::ProtocolViolation | Kind::InvalidPayload | Kind::MessageTooBig,
            ) => Some(CloseCode::INTERNAL_ERROR),
            (Side::Application, _) => Some(self.losses.on_backend_lost),
        };
        let who = match self.side {
            Side::Client => self.losses.caller,
            Side::Application => "application",
        };
        let what = match cut {
            true => format!("the {who} was lost inside of a frame ({kind}: {what})"),
            false => format!("the {who} was lost ({kind}: {what})"),
        };
        // A client whose messages are fine would look for the fault in vain.
        let reason = match (self.side, kind, limit) {
            (Side::Application, Kind::MessageTooBig, Some(Limit { name, limit, .. })) => {
                Some(format!("the application's message is over backend.{name} of {limit} bytes"))
            }
            (Side::Application | Side::Client, _, _) => None,
        };
        let loss = RelayLoss { what, kind: kind_for_other(self.side), code, reason, cut };
        self.other.report(Input::RelayLost(loss));
    }

    /// Makes of a Close that waited in vain for the rest of a frame or message what it is: the other
    /// side's doing.
    pub(crate) fn loss_for_want_of_a_frame_end(&self) -> RelayLoss {
        let (kind, who) = match self.side {
            Side::Client => (Kind::BackendFailed, "application"),
            Side::Application => (Kind::Aborted, self.losses.caller),
        };
        let what = format!("the {who} did not complete a message in time");
        RelayLoss { what, kind, code: None, reason: None, cut: true }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.lose(Kind::ActorFailed, "its connection ended", None);
    }
}

/// The kind of the other leg's ending when the leg of this side is lost.
fn kind_for_other(side: Side) -> Kind {
    match side {
        Side::Client => Kind::Aborted,
        Side::Application => Kind::BackendFailed,
    }
}
