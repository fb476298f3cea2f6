//! What a kind of ending means, and whose deed it was.

use super::facts::Facts;
use crate::vocabulary::{Cause, Fault, Kind, OpenFailure};

/// Explains the kind of an ending to somebody who has never heard of it.
pub(super) fn of(facts: &Facts<'_>) -> String {
    let Some(kind) = facts.kind else {
        return "This is a kind of ending that this version of the command does not know."
            .to_owned();
    };
    match kind {
        Kind::Clean => {
            "It was closed as it should be: one Close frame each way, then the end of TCP."
        }
        Kind::ClosedPrematurely => {
            "The peer ended TCP in order (FIN) without finishing the closing handshake. Programs \
             that exit or drop their socket do this, and so do proxies and load balancers."
        }
        Kind::ConnectionReset => {
            "TCP was broken off (RST) before the closing handshake was complete. Programs that are \
             killed or close with data unread do this, and so do firewalls and load balancers."
        }
        Kind::PathLost => {
            "The network stopped carrying data to the peer, and the operating system gave up. The \
             peer may not have noticed yet."
        }
        Kind::TlsTruncated => {
            "The encrypted stream was cut off without its end mark (close_notify), so nobody can \
             tell whether the peer or something on the way cut it."
        }
        Kind::TransportError => {
            "The operating system reported an error on the connection that is none of the usual \
             ways to end."
        }
        Kind::CloseTimeout => {
            "One side had closed, but the closing handshake was not complete within close.timeout."
        }
        Kind::PongTimeout => {
            "The peer did not answer a Ping, nor send or acknowledge anything else: it is gone or \
             cut off, and TCP had not noticed (a half-open connection)."
        }
        Kind::ProtocolViolation => {
            "The peer sent something that the WebSocket protocol (RFC 6455) forbids, so nothing \
             after it could be understood for certain."
        }
        Kind::InvalidPayload => "The peer sent a text or a close reason that is not valid UTF-8.",
        Kind::MessageTooBig => "The peer sent a message or a frame larger than this end accepts.",
        Kind::SlowConsumer => {
            "The peer did not read, or not fast enough, and what was to be sent to it piled up here."
        }
        Kind::BackendFailed => {
            "What serves this route failed, or took nothing for too long. The peer did nothing wrong."
        }
        Kind::ActorFailed => {
            "The part of lastword that owned this connection died. It owned no other connection."
        }
        Kind::Aborted if facts.cause == Some(Cause::RelayPeer) => {
            "The other leg of the relay was lost, so this one was cut off too, as it would have been \
             without lastword between the two."
        }
        Kind::Aborted => {
            "Somebody had it cut off at once, without waiting for the closing handshake."
        }
        Kind::DrainDeadline => {
            "A drain closed it, but it had not ended when the drain's time was over, so it was cut \
             off."
        }
        Kind::ProcessDied => {
            "The daemon that owned it died (a crash, a kill, a power cut). The next one found it \
             open in the ledger and recorded this ending."
        }
        Kind::OpenFailed(failure) => return attempt(facts, failure),
    }
    .to_owned()
}

fn attempt(facts: &Facts<'_>, failure: OpenFailure) -> String {
    match failure {
        OpenFailure::RefusedLimit if for_want_of_a_ledger(facts) => {
            "It was turned away: endings cannot be stored at the moment, and the configuration says \
             to take no new connections then."
        }
        OpenFailure::RefusedLimit => "It was turned away: there were too many connections.",
        OpenFailure::RefusedRate => {
            "It was turned away: too many connections were being opened at the same time."
        }
        OpenFailure::RefusedDraining if facts.outbound => {
            "It was called off at this end: its dialer was paused or removed, or the daemon drained."
        }
        OpenFailure::RefusedDraining => "It was turned away: the daemon was draining.",
        OpenFailure::RefusedOrigin => {
            "It was turned away: the web page that opened it (its Origin) is not among those that \
             the route allows."
        }
        OpenFailure::Unauthorized => "It was turned away: it did not show valid credentials.",
        OpenFailure::NoRoute => "It was turned away: no route matches what it asked for.",
        OpenFailure::BadRequest => {
            "It was turned away: what it sent is not a WebSocket opening handshake."
        }
        OpenFailure::HandshakeTimeout if facts.outbound => {
            "The server was reached, but did not answer the opening handshake in time."
        }
        OpenFailure::HandshakeTimeout => {
            "The peer connected, but did not complete its opening handshake in time."
        }
        OpenFailure::PeerGone => "The peer went away before the opening handshake was complete.",
        OpenFailure::Dns => "The name of the host could not be resolved.",
        OpenFailure::ConnectRefused => "Nobody listens at that address: TCP was refused.",
        OpenFailure::ConnectTimeout => {
            "Nobody answered at that address: TCP got no answer in time."
        }
        OpenFailure::PortsExhausted => "This machine has no port left to dial from.",
        OpenFailure::Tls => "TCP was connected, but TLS could not be set up.",
        OpenFailure::UpgradeRejected { status: 0 } => {
            "The server was reached, but did not answer like a WebSocket server."
        }
        OpenFailure::UpgradeRejected { status } => {
            return format!(
                "The server answered with HTTP {status} instead of opening a WebSocket."
            );
        }
        OpenFailure::BackendRefused => "The backend of the route did not want it.",
        OpenFailure::BackendUnreachable => "The backend of the route could not be reached.",
    }
    .to_owned()
}

/// Tells whether it was turned away because its ending could not have been stored.
fn for_want_of_a_ledger(facts: &Facts<'_>) -> bool {
    facts.record.limit.as_ref().is_some_and(|limit| limit.name == "ledger.on_failure")
}

/// Tells whose deed it was, and how sure that is.
pub(super) fn fault(facts: &Facts<'_>) -> String {
    match (facts.fault, facts.kind) {
        (Some(Fault::None), Some(Kind::Aborted)) => "Nobody's on this leg.",
        (Some(Fault::None), _) => "Nobody's: it ended as it should.",
        (Some(Fault::Peer), Some(Kind::ClosedPrematurely | Kind::ConnectionReset)) => {
            "The peer's, or that of something on the way that ended TCP in its place (a proxy, a \
             load balancer, a firewall): from here they look alike."
        }
        (Some(Fault::Peer), Some(Kind::CloseTimeout | Kind::SlowConsumer)) => {
            "The peer's, or its network's: from here they look alike."
        }
        (Some(Fault::Peer), _) => "The peer's.",
        (Some(Fault::Network), Some(Kind::PongTimeout)) => {
            "The network's, or that of a peer that hangs or is switched off: from here they look \
             alike."
        }
        (Some(Fault::Network), _) => "The network's, as far as it can be seen from here.",
        (Some(Fault::Backend), _) => "The backend's.",
        (Some(Fault::Local), Some(Kind::OpenFailed(_))) => "This machine's, or that of its limits.",
        (Some(Fault::Local), _) => "Ours: that of lastword or of the machine that it runs on.",
        (Some(Fault::Operator), _) => "Nobody's mistake: somebody asked for it.",
        (None, _) => return format!("{}.", facts.record.fault),
    }
    .to_owned()
}
