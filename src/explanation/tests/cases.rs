//! Endings beyond the decided cases: the other kinds, causes and codes, relays and dialled ones.

use super::Case;
use super::decided::{Row, record, record_of};
use crate::contract::{EndingRecord, UpstreamRecord};
use crate::vocabulary::{Cause, CloseState, Direction, Fault, FirstClose, Kind, TransportEnd};

/// This end closed and the peer answered in kind.
fn closed_here(cause: Cause, code: u16, reason: &'static str) -> EndingRecord<'static> {
    record(&Row {
        kind: Kind::Clean,
        first: FirstClose::Local,
        cause,
        state: CloseState::Closed,
        end: TransportEnd::Fin,
        sent: Some((code, reason)),
        received: Some((code, "")),
        what: "",
    })
}

/// The peer closed and this end answered in kind.
fn closed_there(code: u16, reason: &'static str) -> EndingRecord<'static> {
    record(&left(code, reason))
}

/// The server that was dialled closed and this end answered in kind.
fn server_closed(code: u16, reason: &'static str) -> EndingRecord<'static> {
    dialled(record_of(&left(code, reason), Direction::Outbound))
}

fn left(code: u16, reason: &'static str) -> Row {
    Row {
        kind: Kind::Clean,
        first: FirstClose::Peer,
        cause: Cause::Peer,
        state: CloseState::Closed,
        end: TransportEnd::Fin,
        sent: Some((code, reason)),
        received: Some((code, reason)),
        what: "",
    }
}

/// It was lost while open.
fn lost(kind: Kind, end: TransportEnd, what: &'static str) -> EndingRecord<'static> {
    record(&Row {
        kind,
        first: FirstClose::None,
        cause: Cause::None,
        state: CloseState::Open,
        end,
        sent: None,
        received: None,
        what,
    })
}

pub(super) fn cases() -> Vec<Case> {
    let cases = [
        ("path lost", path_lost()),
        (
            "TLS truncated",
            lost(
                Kind::TlsTruncated,
                TransportEnd::TlsTruncated,
                "TLS ended without close_notify between messages",
            ),
        ),
        (
            "transport error",
            lost(
                Kind::TransportError,
                TransportEnd::Error,
                "the transport failed (No buffer space available (os error 105)) between messages",
            ),
        ),
        ("text that is not UTF-8", invalid_payload()),
        ("outbox full", outbox_full()),
        ("backend made no progress", inbox_timeout()),
        ("process died", process_died()),
        ("embedder closed", closed_here(Cause::Embedder, 1000, "")),
        ("drained", drained()),
        ("too old", closed_here(Cause::MaxAge, 1001, "max age")),
        ("backend closed with 1000", closed_here(Cause::Backend, 1000, "")),
        ("backend closed with 1012", closed_here(Cause::Backend, 1012, "backend gone")),
        ("other leg of a relay ended", relay_leg()),
        ("client of a relay lost", lost_leg(Kind::Aborted, "the client was lost")),
        ("application of a relay lost", lost_leg(Kind::BackendFailed, "the application was lost")),
        ("rate limited", rate_limited()),
        ("authentication ran out", closed_here(Cause::AuthExpired, 3000, "token expired")),
        ("replaced", closed_here(Cause::Replaced, 4409, "replaced")),
        ("revoked", closed_here(Cause::Revoked, 3000, "access revoked")),
        ("slow consumer closed", closed_here(Cause::SlowConsumer, 1013, "too slow")),
        ("silent peer closed after all", closed_here(Cause::Keepalive, 1011, "no pong")),
        ("stale feed", dialled(closed_here(Cause::Stale, 1001, "stale"))),
        ("rotated feed", dialled(closed_here(Cause::Rotated, 1000, "rotated"))),
        ("server closed with 1000", server_closed(1000, "")),
        ("server restarts", server_closed(1012, "restarting")),
        ("peer complains of a protocol error", closed_there(1002, "bad frame")),
        ("peer complains of a policy", closed_there(1008, "")),
        ("peer failed", closed_there(1011, "oops")),
        ("peer wants credentials", server_closed(3000, "")),
        ("peer used a code of its own", closed_there(4001, "kicked")),
        ("embedder aborted", aborted()),
        (
            "server vanished",
            dialled(lost(
                Kind::ClosedPrematurely,
                TransportEnd::Fin,
                "the peer ended TCP (FIN) between messages",
            )),
        ),
        (
            "server silent",
            dialled(lost(
                Kind::PongTimeout,
                TransportEnd::Local,
                "the peer was silent for 20000 ms after our Ping",
            )),
        ),
    ];
    cases.into_iter().map(|(title, ending)| (title.to_owned(), ending)).collect()
}

fn path_lost() -> EndingRecord<'static> {
    let mut ending = lost(
        Kind::PathLost,
        TransportEnd::Timeout,
        "the network lost the peer (Connection timed out (os error 110)) between messages",
    );
    ending.tcp =
        Some(crate::contract::TcpRecord { retransmits: 15, unacked_bytes: 512, rtt_us: 180_500 });
    ending.last_activity_ms = Some(924_000);
    ending
}

fn invalid_payload() -> EndingRecord<'static> {
    record(&Row {
        kind: Kind::InvalidPayload,
        first: FirstClose::Local,
        cause: Cause::Violation,
        state: CloseState::Closed,
        end: TransportEnd::Fin,
        sent: Some((1007, "text message is not UTF-8")),
        received: Some((1007, "")),
        what: "the peer sent what is not UTF-8: text message is not UTF-8",
    })
}

fn outbox_full() -> EndingRecord<'static> {
    let mut ending = closed_here(Cause::SlowConsumer, 1013, "outbox full");
    ending.kind = "slow_consumer".into();
    ending.fault = "peer".into();
    ending.limit = Some(crate::contract::LimitRecord {
        name: "outbox_bytes".into(),
        limit: 262_144,
        observed: 262_200,
    });
    ending.undelivered_messages = Some(1);
    ending.undelivered_bytes = Some(4096);
    ending
}

fn inbox_timeout() -> EndingRecord<'static> {
    let mut ending = closed_here(Cause::Backend, 1011, "backend stalled");
    ending.kind = "backend_failed".into();
    ending.fault = "backend".into();
    ending.limit = Some(crate::contract::LimitRecord {
        name: "inbox_timeout".into(),
        limit: 30_000,
        observed: 30_002,
    });
    ending.discarded_messages = Some(2);
    ending
}

fn process_died() -> EndingRecord<'static> {
    let mut ending = lost(
        Kind::ProcessDied,
        TransportEnd::Unknown,
        "the process died between 2026-03-01T12:00:12.595Z and 2026-03-01T12:00:14.000Z",
    );
    ending.close_code = None;
    ending.state = None;
    (ending.messages_in, ending.messages_out) = (None, None);
    (ending.bytes_in, ending.bytes_out) = (None, None);
    (ending.undelivered_messages, ending.undelivered_bytes) = (None, None);
    ending.discarded_messages = None;
    (ending.last_activity_ms, ending.ping_rtt_ms, ending.tcp) = (None, None, None);
    ending
}

fn drained() -> EndingRecord<'static> {
    let mut ending = closed_here(Cause::Drain, 1012, "service restart");
    ending.by = Some("drain:5b8f0a6d4c20".into());
    ending
}

fn rate_limited() -> EndingRecord<'static> {
    let mut ending = closed_here(Cause::RateLimited, 1013, "too many messages");
    ending.limit = Some(crate::contract::LimitRecord {
        name: "messages_per_second".into(),
        limit: 100,
        observed: 101,
    });
    ending
}

fn relay_leg() -> EndingRecord<'static> {
    let mut ending = closed_here(Cause::RelayPeer, 1012, "backend gone");
    // Its link knows that the application closed, of its own will.
    ending.fault = Fault::Backend.as_str().into();
    ending.origin.backend = Some("relay".into());
    ending.relay_peer = Some("01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c18".into());
    ending.upstream = Some(UpstreamRecord {
        url: "ws://127.0.0.1:3000/chat".into(),
        addr: Some("127.0.0.1:3000".into()),
        connect_ms: Some(2),
        status: Some(101),
    });
    ending
}

/// A leg of which the other was lost: the application's, or the client's.
fn lost_leg(kind: Kind, what: &'static str) -> EndingRecord<'static> {
    let row = Row {
        kind,
        first: FirstClose::None,
        cause: Cause::RelayPeer,
        state: CloseState::Open,
        end: TransportEnd::Local,
        sent: None,
        received: None,
        what,
    };
    let row = match kind {
        Kind::BackendFailed => Row {
            first: FirstClose::Local,
            state: CloseState::Closed,
            end: TransportEnd::Fin,
            sent: Some((1012, "relay lost")),
            received: Some((1012, "")),
            ..row
        },
        _ => row,
    };
    let ending = record(&row);
    EndingRecord { relay_peer: relay_leg().relay_peer, upstream: relay_leg().upstream, ..ending }
}

fn dialled(mut ending: EndingRecord<'static>) -> EndingRecord<'static> {
    let origin = &mut ending.origin;
    origin.direction = "outbound".into();
    (origin.listener, origin.route, origin.subject) = (None, None, None);
    (origin.host, origin.path, origin.user_agent) = (None, None, None);
    origin.dialer = Some("feed".into());
    origin.backend = Some("relay".into());
    origin.peer = Some("198.51.100.7:443".into());
    origin.tls = Some("TLSv1.3".into());
    origin.subprotocol = Some("v1.feed".into());
    ending.upstream = Some(UpstreamRecord {
        url: "wss://feed.example.org/stream".into(),
        addr: Some("198.51.100.7:443".into()),
        connect_ms: Some(12),
        status: Some(101),
    });
    ending
}

fn aborted() -> EndingRecord<'static> {
    record(&Row {
        kind: Kind::Aborted,
        first: FirstClose::None,
        cause: Cause::Embedder,
        state: CloseState::Open,
        end: TransportEnd::Local,
        sent: None,
        received: None,
        what: "it was aborted",
    })
}
