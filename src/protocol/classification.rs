//! What an end means: its kind, whose deed it was, whether to come back, and a sentence about it.
//!
//! Pure functions over evidence. [`super::closing_handshake`] decides what happened; this file
//! knows what to call it.

use std::fmt::Write as _;
use std::time::Duration;

use super::frame_scanner::{Place, Violation};
use crate::vocabulary::{
    Cause, CloseCode, CloseFrame, Direction, Fault, FirstClose, Kind, Limit, OpenFailure, Outcome,
    ReceivedClose, Retry, TransportEnd,
};

#[cfg(test)]
mod tests;

/// How a transport was lost, and where in its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// What the operating system said.
    pub how: LossKind,
    /// Where in a frame and a message the stream stood.
    pub place: Place,
}

/// What the operating system said about a transport that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LossKind {
    /// The peer ended its half in order.
    Fin,
    /// The peer reset TCP.
    Reset,
    /// TLS ended without close_notify.
    TlsTruncated,
    /// The network gave up, in these words.
    PathLost(String),
    /// Any other error, in these words.
    Error(String),
}

/// Where the closing handshake stood when a transport was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// No Close was under way.
    Open,
    /// Our Close had not left.
    CloseQueued,
    /// The peer owed us its Close.
    CloseLeft,
    /// We owed the peer our Close.
    AnswerQueued,
}

impl Loss {
    /// Returns the kind of an ending that this loss brings about.
    pub fn kind(&self) -> Kind {
        match self.how {
            LossKind::Fin => Kind::ClosedPrematurely,
            LossKind::Reset => Kind::ConnectionReset,
            LossKind::TlsTruncated => Kind::TlsTruncated,
            LossKind::PathLost(_) => Kind::PathLost,
            LossKind::Error(_) => Kind::TransportError,
        }
    }

    /// Returns what is recorded as the end of the transport.
    pub fn transport_end(&self) -> TransportEnd {
        match self.how {
            LossKind::Fin => TransportEnd::Fin,
            LossKind::Reset => TransportEnd::Reset,
            LossKind::TlsTruncated => TransportEnd::TlsTruncated,
            LossKind::PathLost(_) => TransportEnd::Timeout,
            LossKind::Error(_) => TransportEnd::Error,
        }
    }

    /// Tells whether only the peer's half has ended, so that it may still read what we write.
    pub(super) fn is_half(&self) -> bool {
        match self.how {
            LossKind::Fin | LossKind::TlsTruncated => true,
            LossKind::Reset | LossKind::PathLost(_) | LossKind::Error(_) => false,
        }
    }

    /// Says it in half a sentence.
    pub(super) fn describe(&self, standing: Standing) -> String {
        let said = match &self.how {
            LossKind::Fin => "the peer ended TCP (FIN)".to_owned(),
            LossKind::Reset => "the peer reset TCP (RST)".to_owned(),
            LossKind::TlsTruncated => "TLS ended without close_notify".to_owned(),
            LossKind::PathLost(why) => format!("the network lost the peer ({why})"),
            LossKind::Error(why) => format!("the transport failed ({why})"),
        };
        match (standing, self.place) {
            (Standing::Open, place) => format!("{said} {place}"),
            (Standing::CloseQueued, place) => format!("{said} {place}, before our Close had left"),
            (Standing::CloseLeft, Place::BetweenMessages) => {
                format!("{said} instead of answering our Close")
            }
            (Standing::CloseLeft, place) => {
                format!("{said} {place}, instead of answering our Close")
            }
            (Standing::AnswerQueued, _) => format!("{said} before our answer had left"),
        }
    }
}

/// A rule of RFC 6455, or a limit, that the peer broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Breach {
    /// Framing, or a size limit.
    Framing(Violation),
    /// A Close frame whose payload is one byte long.
    ShortClose,
    /// A Close frame with a code that may not be sent (section 7.4).
    IllegalCode(u16),
    /// A close reason that is not UTF-8.
    InvalidReason,
    /// A text message that is not UTF-8.
    InvalidText,
    /// Something that the scanner let pass and the reader of messages did not.
    Other(String),
}

impl Breach {
    /// Returns the kind of an ending that this breach brings about.
    pub fn kind(&self) -> Kind {
        self.verdict().0
    }

    /// Returns the code that tells the peer (section 7.4.1).
    pub fn close_code(&self) -> CloseCode {
        self.verdict().1
    }

    /// Says it in half a sentence.
    pub(super) fn describe(&self) -> String {
        format!("{}: {}", self.verdict().2, self.phrase())
    }

    fn verdict(&self) -> (Kind, CloseCode, &'static str) {
        match self {
            Self::Framing(violation) if violation.is_too_big() => {
                (Kind::MessageTooBig, CloseCode::MESSAGE_TOO_BIG, "the peer sent too much")
            }
            Self::InvalidReason | Self::InvalidText => (
                Kind::InvalidPayload,
                CloseCode::INVALID_PAYLOAD,
                "the peer sent what is not UTF-8",
            ),
            Self::Framing(_) | Self::ShortClose | Self::IllegalCode(_) | Self::Other(_) => {
                (Kind::ProtocolViolation, CloseCode::PROTOCOL_ERROR, "the peer broke the protocol")
            }
        }
    }

    /// Returns the limit that was broken, if it was one.
    pub(super) fn into_limit(self) -> Option<Limit> {
        match self {
            Self::Framing(Violation::MessageTooBig(limit)) => Some(limit),
            Self::Framing(_)
            | Self::ShortClose
            | Self::IllegalCode(_)
            | Self::InvalidReason
            | Self::InvalidText
            | Self::Other(_) => None,
        }
    }

    /// Names what was wrong, in a few words.
    pub fn phrase(&self) -> String {
        match self {
            Self::Framing(violation) => violation.to_string(),
            Self::ShortClose => "Close frame with a payload of 1 byte".to_owned(),
            Self::IllegalCode(code) => format!("Close frame with code {code}"),
            Self::InvalidReason => "close reason is not UTF-8".to_owned(),
            Self::InvalidText => "text message is not UTF-8".to_owned(),
            Self::Other(what) => what.clone(),
        }
    }
}

/// Reads the payload of the peer's Close (sections 5.5.1 and 7.4): what it says, and what is wrong.
pub fn read_close(payload: &[u8]) -> (ReceivedClose, Option<Breach>) {
    let (code, reason) = match payload {
        [] => return (ReceivedClose::default(), None),
        [_] => return (ReceivedClose::default(), Some(Breach::ShortClose)),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    let close = ReceivedClose { code: Some(code), reason: String::from_utf8_lossy(reason).into() };
    let breach = if CloseCode::new(code).is_err() {
        Some(Breach::IllegalCode(code))
    } else if std::str::from_utf8(reason).is_err() {
        Some(Breach::InvalidReason)
    } else {
        None
    };
    (close, breach)
}

/// Completes an outcome: fault, advice, and the sentence around `detail`.
pub fn judge(outcome: &mut Outcome, direction: Direction) {
    outcome.fault = fault(outcome);
    outcome.retry = retry(outcome, direction);
    outcome.detail = sentence(outcome);
}

fn fault(outcome: &Outcome) -> Fault {
    match outcome.kind {
        Kind::Clean => clean_fault(outcome),
        Kind::ClosedPrematurely
        | Kind::ConnectionReset
        | Kind::CloseTimeout
        | Kind::ProtocolViolation
        | Kind::InvalidPayload
        | Kind::MessageTooBig
        | Kind::SlowConsumer => Fault::Peer,
        Kind::PathLost | Kind::TlsTruncated | Kind::TransportError | Kind::PongTimeout => {
            Fault::Network
        }
        Kind::BackendFailed => Fault::Backend,
        Kind::ActorFailed | Kind::ProcessDied => Fault::Local,
        Kind::Aborted | Kind::DrainDeadline => Fault::Operator,
        Kind::OpenFailed(failure) => attempt_fault(failure),
    }
}

fn clean_fault(outcome: &Outcome) -> Fault {
    let sent = outcome.close_sent.as_ref().and_then(CloseFrame::code).map(CloseCode::get);
    match outcome.cause {
        Cause::Backend if matches!(sent, Some(1011..=1014)) => Fault::Backend,
        Cause::Api | Cause::Embedder | Cause::Drain => Fault::Operator,
        Cause::Backend
        | Cause::Peer
        | Cause::IdleTimeout
        | Cause::MaxAge
        | Cause::RelayPeer
        | Cause::RateLimited
        | Cause::AuthExpired
        | Cause::Replaced
        | Cause::SlowConsumer
        | Cause::Keepalive
        | Cause::Violation
        | Cause::Stale
        | Cause::Rotated
        | Cause::None => Fault::None,
    }
}

fn attempt_fault(failure: OpenFailure) -> Fault {
    match failure {
        OpenFailure::RefusedOrigin
        | OpenFailure::Unauthorized
        | OpenFailure::NoRoute
        | OpenFailure::BadRequest
        | OpenFailure::HandshakeTimeout
        | OpenFailure::PeerGone
        | OpenFailure::RefusedRate
        | OpenFailure::ConnectRefused
        | OpenFailure::Tls
        | OpenFailure::UpgradeRejected { .. } => Fault::Peer,
        OpenFailure::RefusedLimit | OpenFailure::PortsExhausted => Fault::Local,
        OpenFailure::RefusedDraining => Fault::Operator,
        OpenFailure::Dns | OpenFailure::ConnectTimeout => Fault::Network,
        OpenFailure::BackendRefused | OpenFailure::BackendUnreachable => Fault::Backend,
    }
}

/// Waits that keep many from coming back at once.
const SOON: Retry = Retry::Backoff { min: Duration::from_secs(1), max: Duration::from_secs(30) };
const LATER: Retry = Retry::Backoff { min: Duration::from_secs(5), max: Duration::from_secs(60) };

/// Judges by cause before code.
fn retry(outcome: &Outcome, direction: Direction) -> Retry {
    retry_by_kind(outcome.kind)
        .or_else(|| retry_by_cause(outcome.cause))
        .or_else(|| retry_by_codes(outcome))
        .unwrap_or_else(|| if left_by_itself(outcome, direction) { Retry::Never } else { SOON })
}

fn retry_by_kind(kind: Kind) -> Option<Retry> {
    match kind {
        Kind::OpenFailed(failure) => Some(retry_attempt(failure)),
        Kind::ProtocolViolation | Kind::InvalidPayload | Kind::MessageTooBig => Some(Retry::Never),
        Kind::Clean
        | Kind::ClosedPrematurely
        | Kind::ConnectionReset
        | Kind::PathLost
        | Kind::TlsTruncated
        | Kind::TransportError
        | Kind::CloseTimeout
        | Kind::PongTimeout
        | Kind::SlowConsumer
        | Kind::BackendFailed
        | Kind::ActorFailed
        | Kind::Aborted
        | Kind::DrainDeadline
        | Kind::ProcessDied => None,
    }
}

fn retry_by_cause(cause: Cause) -> Option<Retry> {
    match cause {
        Cause::Replaced | Cause::Violation => Some(Retry::Never),
        Cause::AuthExpired => Some(Retry::Reauthenticate),
        Cause::RateLimited | Cause::SlowConsumer => Some(LATER),
        Cause::Peer
        | Cause::Api
        | Cause::Embedder
        | Cause::Drain
        | Cause::IdleTimeout
        | Cause::MaxAge
        | Cause::Backend
        | Cause::RelayPeer
        | Cause::Keepalive
        | Cause::Stale
        | Cause::Rotated
        | Cause::None => None,
    }
}

fn retry_by_codes(outcome: &Outcome) -> Option<Retry> {
    let received = outcome.close_received.as_ref().and_then(|close| close.code);
    let sent = outcome.close_sent.as_ref().and_then(CloseFrame::code).map(CloseCode::get);
    [received, sent].into_iter().flatten().find_map(|code| match code {
        1002 | 1003 | 1007..=1010 => Some(Retry::Never),
        3000 => Some(Retry::Reauthenticate),
        1013 => Some(LATER),
        _ => None,
    })
}

/// A client that closed with 1000 or 1001 of its own will has no reason to come back.
fn left_by_itself(outcome: &Outcome, direction: Direction) -> bool {
    direction == Direction::Inbound
        && outcome.cause == Cause::Peer
        && matches!(outcome.close_received, Some(ReceivedClose { code: Some(1000 | 1001), .. }))
}

fn retry_attempt(failure: OpenFailure) -> Retry {
    match failure {
        OpenFailure::NoRoute | OpenFailure::BadRequest | OpenFailure::RefusedOrigin => Retry::Never,
        OpenFailure::Unauthorized | OpenFailure::UpgradeRejected { status: 401 | 403 } => {
            Retry::Reauthenticate
        }
        // A refusal for lack of time or of rate passes; any other 4xx says that the request is wrong.
        OpenFailure::UpgradeRejected { status: 408 | 425 | 429 } => LATER,
        OpenFailure::UpgradeRejected { status: 400..=499 } => Retry::Never,
        OpenFailure::RefusedLimit | OpenFailure::RefusedRate => LATER,
        OpenFailure::UpgradeRejected { .. }
        | OpenFailure::RefusedDraining
        | OpenFailure::HandshakeTimeout
        | OpenFailure::PeerGone
        | OpenFailure::Dns
        | OpenFailure::ConnectRefused
        | OpenFailure::ConnectTimeout
        | OpenFailure::PortsExhausted
        | OpenFailure::Tls
        | OpenFailure::BackendRefused
        | OpenFailure::BackendUnreachable => SOON,
    }
}

/// One plain sentence: who closed first and with what, then what went wrong, if anything did.
fn sentence(outcome: &Outcome) -> String {
    let mut said = String::new();
    match (outcome.first_close, &outcome.close_sent, &outcome.close_received) {
        (FirstClose::Peer, _, Some(close)) => {
            let _ = write!(said, "the peer closed first, with {}", Said(close.code, &close.reason));
            if ours_was_queued(outcome.cause) {
                let _ = write!(said, ", while our own Close was queued ({})", outcome.cause);
            }
        }
        (FirstClose::Local, Some(frame), _) => {
            let code = frame.code().map(CloseCode::get);
            let _ = write!(
                said,
                "this end closed first, with {} ({})",
                Said(code, frame.reason()),
                outcome.cause
            );
        }
        (FirstClose::Peer | FirstClose::Local | FirstClose::None, _, _) => {}
    }
    let late = outcome.kind == Kind::Clean && outcome.transport_end == Some(TransportEnd::Timeout);
    let late = if late { "the peer did not end TCP in time" } else { "" };
    for what in [&*outcome.detail, late] {
        if !what.is_empty() && !said.is_empty() {
            said.push_str("; ");
        }
        said.push_str(what);
    }
    said
}

/// Tells whether this end had acted before the peer's Close was read, although that came first.
fn ours_was_queued(cause: Cause) -> bool {
    match cause {
        // An illegal Close is a violation, and then ours is the answer to it.
        Cause::Peer | Cause::Violation | Cause::None => false,
        Cause::Api
        | Cause::Embedder
        | Cause::Drain
        | Cause::IdleTimeout
        | Cause::MaxAge
        | Cause::Backend
        | Cause::RelayPeer
        | Cause::RateLimited
        | Cause::AuthExpired
        | Cause::Replaced
        | Cause::SlowConsumer
        | Cause::Keepalive
        | Cause::Stale
        | Cause::Rotated => true,
    }
}

/// A close code and reason as a person reads them.
struct Said<'a>(Option<u16>, &'a str);

impl std::fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.0, self.1) {
            (None, _) => f.write_str("an empty Close"),
            (Some(code), "") => write!(f, "{code}"),
            (Some(code), reason) => write!(f, "{code} {reason:?}"),
        }
    }
}
