//! What an opening handshake with an instance, or the end of its connection, says about it.
//!
//! A failure is held against an instance only where it is certainly its own, or lies on the way to
//! it, and where another instance would have done better. What this end, its machine, a client or
//! an operator brought about says nothing; that is `None`.

use crate::vocabulary::{Cause, FirstClose, Kind, OpenFailure, Outcome};

/// What was seen of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sign {
    /// It answered a request, if only to refuse it.
    Answered,
    /// It could not be reached, gave no proper answer, or answered with 5xx.
    Unanswered,
    /// A connection ended, and it had kept its side until then.
    Kept,
    /// It broke a connection off: no Close, or none that could be read.
    BrokenOff,
}

impl Sign {
    /// Every sign.
    pub const ALL: [Self; 4] = [Self::Answered, Self::Unanswered, Self::Kept, Self::BrokenOff];

    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Unanswered => "unanswered",
            Self::Kept => "kept",
            Self::BrokenOff => "broken_off",
        }
    }

    /// Tells whether it is a failure.
    pub const fn is_failure(self) -> bool {
        match self {
            Self::Unanswered | Self::BrokenOff => true,
            Self::Answered | Self::Kept => false,
        }
    }

    /// Judges the status of an answer, be it to an opening handshake or to plain HTTP.
    pub const fn of_status(status: u16) -> Self {
        match status {
            // 0: the answer was no HTTP.
            0 | 500.. => Self::Unanswered,
            _ => Self::Answered,
        }
    }

    /// Judges a dial that failed, by the dial's own word: those for the client behind it, such as
    /// `backend_refused`, have forgotten the status. A dial that led to a 101 is
    /// [`Sign::Answered`].
    pub const fn of_dial(failure: OpenFailure) -> Option<Self> {
        match failure {
            OpenFailure::Dns
            | OpenFailure::ConnectRefused
            | OpenFailure::ConnectTimeout
            | OpenFailure::Tls
            | OpenFailure::HandshakeTimeout
            | OpenFailure::PeerGone
            | OpenFailure::BackendUnreachable
            // It said yes, and not in the words of RFC 6455 section 4.2.2.
            | OpenFailure::UpgradeRejected { status: 101 } => Some(Self::Unanswered),
            OpenFailure::UpgradeRejected { status } => Some(Self::of_status(status)),
            // This machine's, or this end's, before anything was asked.
            OpenFailure::PortsExhausted
            | OpenFailure::RefusedLimit
            | OpenFailure::RefusedRate
            | OpenFailure::RefusedDraining
            | OpenFailure::RefusedOrigin
            | OpenFailure::Unauthorized
            | OpenFailure::NoRoute
            | OpenFailure::BadRequest
            | OpenFailure::BackendRefused => None,
        }
    }

    /// Judges how the instance's own connection ended; not the client's, nor this process's wish.
    ///
    /// - A Close is never a failure, whatever its code: an instance that closes works. With 1011,
    ///   1013 or 1014 it says that something is wrong, so it clears nothing either. But 1011 is about
    ///   one conversation, which a client may have spoilt, and the others are about load or about
    ///   what stands behind all instances: what should keep clients away is a 5xx or the health path.
    /// - Ends without a Close are failures only out of the blue. Once this end had begun to close,
    ///   they are bad manners that many applications have; ejected for them, an application would
    ///   be blamed for every client that leaves.
    /// - A Close left unanswered and a peer that reads nothing may be the client's doing, who stopped
    ///   reading and so blocked the application. An instance that hangs is found by its Pongs, which
    ///   are not waited for while this end does not read, and by its handshakes.
    /// - Broken framing is a failure. Text that is not UTF-8, or too big, is not: it comes of what the
    ///   application was fed, and any other instance would send the same.
    pub fn of_ending(outcome: &Outcome) -> Option<Self> {
        match outcome.kind {
            Kind::Clean if says_it_failed(outcome) => None,
            Kind::Clean => Some(Self::Kept),
            Kind::ClosedPrematurely
            | Kind::ConnectionReset
            | Kind::PathLost
            | Kind::TlsTruncated => (outcome.cause == Cause::None).then_some(Self::BrokenOff),
            Kind::PongTimeout => Some(Self::BrokenOff),
            // A Close with an illegal code is a Close.
            Kind::ProtocolViolation => (outcome.cause == Cause::Violation
                && outcome.first_close != FirstClose::Peer)
                .then_some(Self::BrokenOff),
            // Dropped because its client was lost: until then nothing was wrong with it.
            Kind::Aborted => (outcome.cause == Cause::RelayPeer).then_some(Self::Kept),
            Kind::OpenFailed(failure) => Self::of_dial(failure),
            // An error that is none of the network's or the peer's usual ones may be this machine's.
            Kind::TransportError
            | Kind::CloseTimeout
            | Kind::InvalidPayload
            | Kind::MessageTooBig
            | Kind::SlowConsumer
            | Kind::BackendFailed
            | Kind::ActorFailed
            | Kind::DrainDeadline
            | Kind::ProcessDied => None,
        }
    }
}

impl std::fmt::Display for Sign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

fn says_it_failed(outcome: &Outcome) -> bool {
    let code = outcome.close_received.as_ref().and_then(|close| close.code);
    outcome.first_close == FirstClose::Peer && matches!(code, Some(1011 | 1013 | 1014))
}
