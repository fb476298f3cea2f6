//! Classifies endings: the fault, the advice on reconnecting, and a sentence for people.
//!
//! Pure functions: [`super::closing_handshake`] decides what happened, and this module judges it.

use std::fmt::Write as _;
use std::time::Duration;

use crate::vocabulary::{
    Cause, CloseCode, CloseFrame, Direction, Fault, FirstClose, Kind, OpenFailure, Outcome,
    ReceivedClose, Retry, TransportEnd,
};

mod breach;
mod loss;
#[cfg(test)]
mod tests;

pub use breach::{Breach, read_close};
pub(super) use loss::Standing;
pub use loss::{Loss, LossKind};

/// Completes an outcome: sets its fault and advice, and turns `detail` into a whole sentence.
pub fn judge(outcome: &mut Outcome, direction: Direction) {
    outcome.fault = fault(outcome);
    outcome.retry = retry(outcome, direction);
    outcome.detail = sentence(outcome);
}

/// Judges a refusal by the application, which answered a client with this status: below 500 the
/// client is at fault, otherwise the backend, and the advice is that for any server's answer.
pub fn judge_refusal(outcome: &mut Outcome, status: u16) {
    if (200..500).contains(&status) {
        outcome.fault = Fault::Peer;
    }
    outcome.retry = retry_attempt(OpenFailure::UpgradeRejected { status });
}

/// Judges a leg of a relay that closed because the application did, of its own will: it is at fault if
/// its code says so.
pub fn judge_backend_close(outcome: &mut Outcome) {
    let clean = outcome.kind == Kind::Clean && outcome.cause == Cause::RelayPeer;
    if clean && blames_backend(outcome) {
        outcome.fault = Fault::Backend;
    }
}

fn fault(outcome: &Outcome) -> Fault {
    match outcome.kind {
        Kind::Clean => clean_fault(outcome),
        // A relay leg that was dropped because the other leg was lost was not aborted on request.
        Kind::Aborted if outcome.cause == Cause::RelayPeer => Fault::None,
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

/// Whether the code that was sent, for the backend, is one by which a server fails.
fn blames_backend(outcome: &Outcome) -> bool {
    let sent = outcome.close_sent.as_ref().and_then(CloseFrame::code).map(CloseCode::get);
    matches!(sent, Some(1011..=1014))
}

fn clean_fault(outcome: &Outcome) -> Fault {
    match outcome.cause {
        Cause::Backend if blames_backend(outcome) => Fault::Backend,
        Cause::Api | Cause::Embedder | Cause::Drain | Cause::Revoked => Fault::Operator,
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
        | OpenFailure::UntrustedProxy
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
        OpenFailure::BackendRefused
        | OpenFailure::BackendUnreachable
        | OpenFailure::AuthUnavailable => Fault::Backend,
    }
}

/// The default advice. The range keeps clients from reconnecting at the same time.
pub const SOON: Retry =
    Retry::Backoff { min: Duration::from_secs(1), max: Duration::from_secs(30) };
/// The advice after 1013, 429 and the like, by which one end asked the other to try again later.
pub const LATER: Retry =
    Retry::Backoff { min: Duration::from_secs(5), max: Duration::from_secs(60) };

/// Extends the wait of an advice to the `Retry-After` of the peer.
pub fn with_retry_after(retry: Retry, wait: Duration) -> Retry {
    match retry {
        Retry::Backoff { min, max } => {
            let min = min.max(wait);
            // Clients refused together got the same `Retry-After`, so spread them.
            Retry::Backoff { min, max: max.max(min.saturating_add(min / 10)) }
        }
        Retry::Never | Retry::Reauthenticate => retry,
    }
}

/// Judges by kind, then by cause, then by close codes.
fn retry(outcome: &Outcome, direction: Direction) -> Retry {
    retry_by_kind(outcome.kind)
        .or_else(|| retry_by_cause(outcome.cause))
        .unwrap_or_else(|| retry_by_codes(outcome, direction))
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
        Cause::AuthExpired | Cause::Revoked => Some(Retry::Reauthenticate),
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

fn retry_by_codes(outcome: &Outcome, direction: Direction) -> Retry {
    // The code of a relay's other leg, and its echo, say nothing about the server that was dialled.
    let passed_on = direction == Direction::Outbound && outcome.cause == Cause::RelayPeer;
    let received = outcome.close_received.as_ref().and_then(|close| close.code);
    let sent = outcome.close_sent.as_ref().and_then(CloseFrame::code).map(CloseCode::get);
    let received = received.filter(|_| !(passed_on && received == sent));
    let sent = sent.filter(|_| !passed_on);
    let has = |codes: fn(u16) -> bool| [received, sent].into_iter().flatten().any(codes);
    // Either code counts, and what forbids more goes before what forbids less.
    if has(|code| matches!(code, 1002 | 1003 | 1007..=1010)) {
        // RFC 6455 section 7.4.1: the next connection would break the same rule.
        Retry::Never
    } else if has(|code| code == 3000) {
        Retry::Reauthenticate
    } else if peer_left(outcome, direction) {
        Retry::Never
    } else if has(|code| code == 1013) {
        LATER
    } else {
        SOON
    }
}

/// Returns whether a client closed with 1000 or 1001 on its own, and so has no reason to reconnect.
fn peer_left(outcome: &Outcome, direction: Direction) -> bool {
    direction == Direction::Inbound
        && outcome.cause == Cause::Peer
        && matches!(outcome.close_received, Some(ReceivedClose { code: Some(1000 | 1001), .. }))
}

fn retry_attempt(failure: OpenFailure) -> Retry {
    match failure {
        OpenFailure::NoRoute
        | OpenFailure::BadRequest
        | OpenFailure::RefusedOrigin
        | OpenFailure::UntrustedProxy => Retry::Never,
        OpenFailure::Unauthorized | OpenFailure::UpgradeRejected { status: 401 | 403 } => {
            Retry::Reauthenticate
        }
        // 408, 425 and 429 are temporary; any other 4xx says that the request is wrong.
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
        | OpenFailure::BackendUnreachable
        | OpenFailure::AuthUnavailable => SOON,
    }
}

/// Writes one sentence: who closed first and with what, then what went wrong, if anything did.
fn sentence(outcome: &Outcome) -> String {
    let mut text = String::new();
    match (outcome.first_close, &outcome.close_sent, &outcome.close_received) {
        (FirstClose::Peer, _, Some(close)) => {
            let close = CodeAndReason(close.code, &close.reason);
            let _ = write!(text, "the peer closed first, with {close}");
            if ours_was_queued(outcome.cause) {
                let _ = write!(text, ", while our own Close was queued ({})", outcome.cause);
            }
        }
        (FirstClose::Local, Some(frame), _) => {
            let code = frame.code().map(CloseCode::get);
            let _ = write!(
                text,
                "this end closed first, with {} ({})",
                CodeAndReason(code, frame.reason()),
                outcome.cause
            );
        }
        (FirstClose::Peer | FirstClose::Local | FirstClose::None, _, _) => {}
    }
    let late = outcome.kind == Kind::Clean && outcome.transport_end == Some(TransportEnd::Timeout);
    let late = if late { "the peer did not end TCP in time" } else { "" };
    for what in [&*outcome.detail, late] {
        if !what.is_empty() && !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(what);
    }
    text
}

/// Returns whether our own Close was already queued when the peer's Close, which came first, was read.
fn ours_was_queued(cause: Cause) -> bool {
    match cause {
        // After an illegal Close, a violation, our Close is the answer to it.
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
        | Cause::Revoked
        | Cause::SlowConsumer
        | Cause::Keepalive
        | Cause::Stale
        | Cause::Rotated => true,
    }
}

/// Displays a close code and reason.
struct CodeAndReason<'a>(Option<u16>, &'a str);

impl std::fmt::Display for CodeAndReason<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.0, self.1) {
            (None, _) => f.write_str("an empty Close"),
            (Some(code), "") => write!(f, "{code}"),
            (Some(code), reason) => write!(f, "{code} {reason:?}"),
        }
    }
}
