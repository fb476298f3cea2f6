//! What a kind of ending means, and whose fault it was.

use super::facts::Facts;
use crate::vocabulary::{Cause, Fault, Kind, OpenFailure};

/// Explains the kind of an ending to a reader who has never met it.
pub(super) fn of(facts: &Facts<'_>) -> String {
    let Some(kind) = facts.kind else {
        return "This version of the command does not know this kind of ending.".to_owned();
    };
    match kind {
        Kind::Clean => {
            "It was closed normally: one Close frame each way, then the end of TCP."
        }
        Kind::ClosedPrematurely => {
            "The peer ended TCP normally (FIN) without completing the closing handshake. Programs \
             that exit or drop their socket do this, and so do proxies and load balancers."
        }
        Kind::ConnectionReset => {
            "TCP was reset (RST) before the closing handshake was complete. Programs that are \
             killed or close with unread data do this, and so do firewalls and load balancers."
        }
        Kind::PathLost => {
            "The network stopped carrying data to the peer, and the operating system gave up. The \
             peer may not have noticed yet."
        }
        Kind::TlsTruncated => {
            "The TLS stream ended without close_notify, so it is unknown whether the peer or \
             something in between cut it off."
        }
        Kind::TransportError => {
            "The operating system reported an error on the connection other than the usual ways \
             to end."
        }
        Kind::CloseTimeout => {
            "One side sent a Close, but the closing handshake was not complete within \
             close.timeout."
        }
        Kind::PongTimeout => {
            "The peer did not answer a Ping, and neither sent nor acknowledged anything else: it is \
             gone or unreachable, and TCP had not noticed (a half-open connection)."
        }
        Kind::ProtocolViolation => {
            "The peer sent something that the WebSocket protocol (RFC 6455) forbids, so the bytes \
             after it could not be interpreted reliably."
        }
        Kind::InvalidPayload => {
            "The peer sent a text message or a close reason that is not valid UTF-8."
        }
        Kind::MessageTooBig => "The peer sent a message or a frame larger than this end accepts.",
        Kind::SlowConsumer => {
            "The peer did not read fast enough, and the data to be sent to it filled its queue here."
        }
        Kind::BackendFailed => {
            "The backend of this route failed, or took no message for too long. The peer did \
             nothing wrong."
        }
        Kind::ActorFailed => {
            "The task of lastword that owned this connection panicked or was killed. It owned no \
             other connection."
        }
        Kind::Aborted if facts.cause == Some(Cause::RelayPeer) => {
            "The other leg of the relay was lost, so this one was cut off too, as it would have \
             been without lastword in between."
        }
        Kind::Aborted => {
            "It was cut off at once by request, without a closing handshake."
        }
        Kind::DrainDeadline => {
            "A drain closed it, but it was still open at the drain's deadline, so it was cut off."
        }
        Kind::ProcessDied => {
            "The daemon that owned it died (a crash, a kill, a power failure). The next start found \
             it open in the ledger and recorded this ending."
        }
        Kind::OpenFailed(failure) => return attempt(facts, failure),
    }
    .to_owned()
}

fn attempt(facts: &Facts<'_>, failure: OpenFailure) -> String {
    match failure {
        OpenFailure::RefusedLimit if is_ledger_refusal(facts) => {
            "It was refused: endings could not be stored, and the configuration says to refuse new \
             connections then."
        }
        OpenFailure::RefusedLimit => "It was refused: there were too many connections.",
        OpenFailure::RefusedRate => {
            "It was refused: too many connections were being opened at the same time."
        }
        OpenFailure::RefusedDraining if facts.outbound => {
            "This end cancelled it: its dialer was paused or removed, or the daemon drained."
        }
        OpenFailure::RefusedDraining => "It was refused: the daemon was draining.",
        OpenFailure::UntrustedProxy => {
            "It was refused: the listener takes connections, or PROXY headers, from trusted proxies \
             only."
        }
        OpenFailure::RefusedOrigin => {
            "It was refused: the route does not allow the web page that opened it (its Origin)."
        }
        OpenFailure::Unauthorized => "It was refused: it had no valid credentials.",
        OpenFailure::AuthUnavailable => {
            "It was refused: it could not be decided whether it may connect, and in doubt it may not."
        }
        OpenFailure::NoRoute => "It was refused: no route matches its request.",
        OpenFailure::BadRequest => {
            "It was refused: its request is not a WebSocket opening handshake."
        }
        OpenFailure::HandshakeTimeout if facts.outbound => {
            "The server was reached, but did not answer the opening handshake in time."
        }
        OpenFailure::HandshakeTimeout => {
            "The peer connected, but did not complete its opening handshake in time."
        }
        OpenFailure::PeerGone => "The peer went away before the opening handshake was complete.",
        OpenFailure::Dns => "The name of the host could not be resolved.",
        OpenFailure::ConnectRefused => {
            "Nothing listens at that address: the TCP connection was refused."
        }
        OpenFailure::ConnectTimeout => "No answer came from that address in time.",
        OpenFailure::PortsExhausted => "This machine has no port left to dial from.",
        OpenFailure::Tls => "TCP was connected, but the TLS handshake failed.",
        OpenFailure::UpgradeRejected { status: 0 } => {
            "The server was reached, but its answer was not that of a WebSocket server."
        }
        OpenFailure::UpgradeRejected { status } => {
            return format!(
                "The server answered with HTTP {status} instead of opening a WebSocket."
            );
        }
        OpenFailure::BackendRefused => "The backend of the route refused it.",
        OpenFailure::BackendUnreachable => "The backend of the route could not be reached.",
    }
    .to_owned()
}

/// Returns whether it was refused because its ending could not have been stored.
fn is_ledger_refusal(facts: &Facts<'_>) -> bool {
    facts.record.limit.as_ref().is_some_and(|limit| limit.name == "ledger.on_failure")
}

/// Says whose fault it was, and how certain that is.
pub(super) fn fault(facts: &Facts<'_>) -> String {
    match (facts.fault, facts.kind) {
        (Some(Fault::None), Some(Kind::Aborted)) => "None on this leg.",
        (Some(Fault::None), _) => "None: it ended normally.",
        (Some(Fault::Peer), Some(Kind::ClosedPrematurely | Kind::ConnectionReset)) => {
            "The peer, or something in between that ended TCP in its place (a proxy, a load \
             balancer, a firewall): this end cannot tell them apart."
        }
        (Some(Fault::Peer), Some(Kind::CloseTimeout | Kind::SlowConsumer)) => {
            "The peer, or its network: this end cannot tell them apart."
        }
        (Some(Fault::Peer), _) => "The peer.",
        (Some(Fault::Network), Some(Kind::PongTimeout)) => {
            "The network, or a peer that hangs or is switched off: this end cannot tell them apart."
        }
        (Some(Fault::Network), _) => "The network, as far as this end can tell.",
        (Some(Fault::Backend), _) => "The backend.",
        (Some(Fault::Local), Some(Kind::OpenFailed(_))) => "This machine, or its limits.",
        (Some(Fault::Local), _) => "lastword, or the machine that it runs on.",
        (Some(Fault::Operator), _) => "None: it was requested.",
        (None, _) => return format!("{}.", facts.record.fault),
    }
    .to_owned()
}
