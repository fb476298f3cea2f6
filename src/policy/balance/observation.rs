//! What an opening handshake with an instance, or the ending of its connection, says about it.
//!
//! A failure counts against an instance only if the instance or the path to it certainly caused it,
//! and another instance could have done better. Anything caused by this end, its machine, a client
//! or an operator yields `None`.

use crate::vocabulary::{Cause, FirstClose, Kind, OpenFailure, Outcome};

/// What was observed of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Observation {
    /// It answered a request, perhaps with a refusal.
    Answered,
    /// It could not be reached, gave no proper answer, or answered with 5xx.
    Unanswered,
    /// A connection ended, and the instance had not broken it.
    Kept,
    /// It broke a connection off: without a Close, or with broken framing.
    BrokenOff,
}

impl Observation {
    /// Every observation.
    pub const ALL: [Self; 4] = [Self::Answered, Self::Unanswered, Self::Kept, Self::BrokenOff];

    /// Returns the word that is logged.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Unanswered => "unanswered",
            Self::Kept => "kept",
            Self::BrokenOff => "broken_off",
        }
    }

    /// Returns whether the observation is a failure.
    pub const fn is_failure(self) -> bool {
        match self {
            Self::Unanswered | Self::BrokenOff => true,
            Self::Answered | Self::Kept => false,
        }
    }

    /// Judges the status of an answer to an opening handshake or a plain HTTP request.
    pub const fn of_status(status: u16) -> Self {
        match status {
            // 0 means that the answer was not HTTP.
            0 | 500.. => Self::Unanswered,
            _ => Self::Answered,
        }
    }

    /// Judges a failed dial by the failure of the dial itself: the failure recorded for the client,
    /// such as `backend_refused`, no longer has the status. A dial that got a 101 is
    /// [`Observation::Answered`].
    pub const fn of_dial(failure: OpenFailure) -> Option<Self> {
        match failure {
            OpenFailure::Dns
            | OpenFailure::ConnectRefused
            | OpenFailure::ConnectTimeout
            | OpenFailure::Tls
            | OpenFailure::HandshakeTimeout
            | OpenFailure::PeerGone
            | OpenFailure::BackendUnreachable
            // A 101 that breaks RFC 6455 section 4.2.2.
            | OpenFailure::UpgradeRejected { status: 101 } => Some(Self::Unanswered),
            OpenFailure::UpgradeRejected { status } => Some(Self::of_status(status)),
            // Failures of this machine or this end, before the instance was reached.
            OpenFailure::PortsExhausted
            | OpenFailure::RefusedLimit
            | OpenFailure::RefusedRate
            | OpenFailure::RefusedDraining
            | OpenFailure::RefusedOrigin
            | OpenFailure::UntrustedProxy
            | OpenFailure::Unauthorized
            | OpenFailure::AuthUnavailable
            | OpenFailure::NoRoute
            | OpenFailure::BadRequest
            | OpenFailure::BackendRefused => None,
        }
    }

    /// Judges the ending of the connection to the instance (not the client's connection).
    ///
    /// - A Close is never a failure, whatever its code: an instance that closes is working. With
    ///   1011, 1013 or 1014 it reports a problem, so the Close clears no failures either. But 1011
    ///   concerns one conversation, which the client may have spoilt, and 1013 and 1014 concern load
    ///   or a service behind all instances; a 5xx or the health check should keep clients away.
    /// - An ending without a Close is a failure only if this end had not begun to close. After our
    ///   Close it is sloppiness that many applications share, and counting it would blame the
    ///   application for every client that leaves.
    /// - An unanswered Close and a peer that reads nothing may be the fault of a client that stopped
    ///   reading and so blocked the application. A hung instance is found by its missing Pongs, which
    ///   are not expected while this end does not read, and by its handshakes.
    /// - Broken framing is a failure. Text that is not UTF-8 or too big is not: it results from what
    ///   the application was sent, and any other instance would return the same.
    pub fn of_ending(outcome: &Outcome) -> Option<Self> {
        match outcome.kind {
            Kind::Clean if reports_a_problem(outcome) => None,
            Kind::Clean => Some(Self::Kept),
            Kind::ClosedPrematurely
            | Kind::ConnectionReset
            | Kind::PathLost
            | Kind::TlsTruncated => (outcome.cause == Cause::None).then_some(Self::BrokenOff),
            Kind::PongTimeout => Some(Self::BrokenOff),
            // A Close with an illegal code is still a Close.
            Kind::ProtocolViolation => (outcome.cause == Cause::Violation
                && outcome.first_close != FirstClose::Peer)
                .then_some(Self::BrokenOff),
            // It was dropped because its client was lost; nothing was wrong with it.
            Kind::Aborted => (outcome.cause == Cause::RelayPeer).then_some(Self::Kept),
            Kind::OpenFailed(failure) => Self::of_dial(failure),
            // `TransportError` is any unusual I/O error, which this machine may have caused.
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

impl std::fmt::Display for Observation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

fn reports_a_problem(outcome: &Outcome) -> bool {
    let code = outcome.close_received.as_ref().and_then(|close| close.code);
    outcome.first_close == FirstClose::Peer && matches!(code, Some(1011 | 1013 | 1014))
}
