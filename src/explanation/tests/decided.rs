//! The decided cases of the contract, section 2, row by row.

use super::Case;
use crate::contract::samples;
use crate::contract::{CloseRecord, EndingRecord};
use crate::protocol::classification::judge;
use crate::vocabulary::{
    Cause, CloseFrame, CloseState, Direction, FirstClose, Kind, Outcome, ReceivedClose, Retry,
    TransportEnd,
};

/// What differs from one row to the next.
pub(super) struct Row {
    pub(super) kind: Kind,
    pub(super) first: FirstClose,
    pub(super) cause: Cause,
    pub(super) state: CloseState,
    pub(super) end: TransportEnd,
    /// The code and reason of our Close, if it left.
    pub(super) sent: Option<(u16, &'static str)>,
    /// The code and reason of the peer's Close, if it came; 1005 is an empty one.
    pub(super) received: Option<(u16, &'static str)>,
    /// What the daemon says beside who closed.
    pub(super) what: &'static str,
}

/// Makes the record that the daemon would write: its own judgement, its own sentence.
pub(super) fn record(row: &Row) -> EndingRecord<'static> {
    record_of(row, Direction::Inbound)
}

/// Likewise, of a connection that was opened this way.
pub(super) fn record_of(row: &Row, direction: Direction) -> EndingRecord<'static> {
    let received = row.received.map(|(code, reason)| ReceivedClose {
        code: (code != 1005).then_some(code),
        reason: reason.into(),
    });
    let frame = |(code, reason): (u16, &str)| match code {
        1005 => CloseFrame::Empty,
        code => CloseFrame::new(Some(code), reason).unwrap(),
    };
    let both = row.sent.is_some() && row.received.is_some();
    let mut outcome = Outcome {
        kind: row.kind,
        fault: crate::vocabulary::Fault::None,
        cause: row.cause,
        first_close: row.first,
        state: Some(row.state),
        close_sent: row.sent.map(frame),
        close_received: received,
        transport_end: Some(row.end),
        handshake: both.then(|| std::time::Duration::from_millis(3)),
        retry: Retry::Never,
        limit: None,
        by: None,
        detail: row.what.to_owned(),
    };
    judge(&mut outcome, direction);

    let mut record = samples::ending();
    record.kind = outcome.kind.as_str().into();
    record.fault = outcome.fault.as_str().into();
    record.cause = outcome.cause.as_str().into();
    record.first_close = outcome.first_close.as_str().into();
    record.state = Some(row.state.as_str().into());
    let close = |code, reason: &str| CloseRecord { code, reason: reason.to_owned().into() };
    record.close_sent = outcome
        .close_sent
        .as_ref()
        .map(|sent| close(sent.code().map(|code| code.get()), sent.reason()));
    record.close_received =
        outcome.close_received.as_ref().map(|received| close(received.code, &received.reason));
    record.close_code = outcome.close_code();
    record.transport_end = Some(row.end.as_str().into());
    record.handshake_ms = both.then_some(3);
    record.retry = outcome.retry.advice().as_str().into();
    record.retry_after_ms = match outcome.retry {
        Retry::Backoff { min, max } => Some([min.as_millis() as u64, max.as_millis() as u64]),
        Retry::Never | Retry::Reauthenticate => None,
    };
    record.by = (row.cause == Cause::Api).then(|| "api:ops".into());
    record.detail = outcome.detail.into();
    record
}

const CLEAN: Row = Row {
    kind: Kind::Clean,
    first: FirstClose::Local,
    cause: Cause::Api,
    state: CloseState::Closed,
    end: TransportEnd::Fin,
    sent: Some((1000, "bye")),
    received: Some((1000, "bye")),
    what: "",
};

const OPEN: Row = Row {
    kind: Kind::ClosedPrematurely,
    first: FirstClose::None,
    cause: Cause::None,
    state: CloseState::Open,
    end: TransportEnd::Fin,
    sent: None,
    received: None,
    what: "the peer ended TCP (FIN) inside a payload (12 of 4096 bytes)",
};

const UNANSWERED: Row = Row {
    kind: Kind::CloseTimeout,
    first: FirstClose::Local,
    cause: Cause::Api,
    state: CloseState::CloseSent,
    end: TransportEnd::Timeout,
    sent: Some((1000, "bye")),
    received: None,
    what: "the peer did not answer our Close in time",
};

const VIOLATION: Row = Row {
    kind: Kind::ProtocolViolation,
    first: FirstClose::Local,
    cause: Cause::Violation,
    state: CloseState::Closed,
    end: TransportEnd::Fin,
    sent: Some((1002, "RSV bit set")),
    received: Some((1002, "")),
    what: "the peer broke the protocol: RSV bit set",
};

const PEER: Row = Row {
    first: FirstClose::Peer,
    cause: Cause::Peer,
    sent: Some((1001, "")),
    received: Some((1001, "")),
    ..CLEAN
};

pub(super) fn cases() -> Vec<Case> {
    let rows = [
        ("API close 1000, echoed", CLEAN),
        (
            "API close 1000, echoed, no FIN within linger",
            Row { end: TransportEnd::Timeout, ..CLEAN },
        ),
        ("peer's empty Close", Row { sent: Some((1005, "")), received: Some((1005, "")), ..PEER }),
        ("peer's 1001, RST after our reply left", Row { end: TransportEnd::Reset, ..PEER }),
        (
            "peer's 1001, RST before our reply left",
            Row {
                kind: Kind::ConnectionReset,
                state: CloseState::CloseReceived,
                end: TransportEnd::Reset,
                sent: None,
                what: "the peer reset TCP (RST) before our answer had left",
                ..PEER
            },
        ),
        (
            "peer's Close and FIN in one segment",
            Row { sent: Some((1000, "")), received: Some((1000, "")), ..PEER },
        ),
        (
            "peer's 1000, our reply cannot leave",
            Row {
                kind: Kind::CloseTimeout,
                state: CloseState::CloseReceived,
                end: TransportEnd::Timeout,
                sent: None,
                received: Some((1000, "")),
                what: "our answer could not leave in time",
                ..PEER
            },
        ),
        ("both Closes cross", Row { received: Some((1001, "leaving")), ..CLEAN }),
        (
            "our Close still queued when the peer's is read",
            Row { cause: Cause::Api, sent: Some((1000, "bye")), ..PEER },
        ),
        ("our Close unanswered", UNANSWERED),
        (
            "our Close could not even leave",
            Row {
                first: FirstClose::None,
                sent: None,
                what: "our Close could not leave in time",
                ..UNANSWERED
            },
        ),
        (
            "FIN instead of an answer to our Close",
            Row {
                kind: Kind::ClosedPrematurely,
                end: TransportEnd::Fin,
                what: "the peer ended TCP (FIN) instead of answering our Close",
                ..UNANSWERED
            },
        ),
        (
            "RST instead of an answer to our Close",
            Row {
                kind: Kind::ConnectionReset,
                end: TransportEnd::Reset,
                what: "the peer reset TCP (RST) instead of answering our Close",
                ..UNANSWERED
            },
        ),
        ("FIN while open", OPEN),
        (
            "RST while open",
            Row {
                kind: Kind::ConnectionReset,
                end: TransportEnd::Reset,
                what: "the peer reset TCP (RST) between messages",
                ..OPEN
            },
        ),
        (
            "RSV bit, peer silent after our 1002",
            Row {
                state: CloseState::CloseSent,
                end: TransportEnd::Timeout,
                received: None,
                ..VIOLATION
            },
        ),
        ("RSV bit, our 1002 echoed", VIOLATION),
        (
            "peer's Close carries an illegal code",
            Row {
                first: FirstClose::Peer,
                sent: Some((1002, "Close frame with code 1006")),
                received: Some((1006, "")),
                what: "the peer broke the protocol: Close frame with code 1006",
                ..VIOLATION
            },
        ),
        (
            "violation after our Close",
            Row {
                cause: Cause::Api,
                state: CloseState::CloseSent,
                sent: Some((1000, "bye")),
                received: None,
                ..VIOLATION
            },
        ),
        (
            "too big, peer silent",
            Row {
                kind: Kind::MessageTooBig,
                state: CloseState::CloseSent,
                end: TransportEnd::Timeout,
                sent: Some((1009, "message too big")),
                received: None,
                what: "the peer sent too much: message of more than 1048576 bytes",
                ..VIOLATION
            },
        ),
        (
            "pong overdue, the 1011 left",
            Row {
                kind: Kind::PongTimeout,
                cause: Cause::Keepalive,
                end: TransportEnd::Local,
                sent: Some((1011, "no pong")),
                what: "the peer was silent for 20000 ms after our Ping",
                ..UNANSWERED
            },
        ),
        (
            "pong overdue, nothing left",
            Row {
                kind: Kind::PongTimeout,
                cause: Cause::Keepalive,
                end: TransportEnd::Local,
                what: "the peer was silent for 20000 ms after our Ping",
                ..OPEN
            },
        ),
        (
            "write stalled",
            Row {
                kind: Kind::SlowConsumer,
                cause: Cause::SlowConsumer,
                end: TransportEnd::Local,
                what: "the peer took nothing of what was queued for it for 15000 ms",
                ..OPEN
            },
        ),
        (
            "idle_timeout, echoed",
            Row {
                cause: Cause::IdleTimeout,
                sent: Some((3008, "idle")),
                received: Some((3008, "")),
                ..CLEAN
            },
        ),
        (
            "handler panics, 1011 echoed",
            Row {
                kind: Kind::BackendFailed,
                cause: Cause::Backend,
                sent: Some((1011, "internal error")),
                received: Some((1011, "")),
                what: "the handler panicked",
                ..CLEAN
            },
        ),
        (
            "actor killed",
            Row {
                kind: Kind::ActorFailed,
                end: TransportEnd::Local,
                what: "the connection's actor was killed",
                ..OPEN
            },
        ),
        (
            "abort by the API",
            Row {
                kind: Kind::Aborted,
                cause: Cause::Api,
                end: TransportEnd::Local,
                what: "it was aborted",
                ..OPEN
            },
        ),
        (
            "drain deadline after our Close",
            Row {
                kind: Kind::DrainDeadline,
                cause: Cause::Drain,
                end: TransportEnd::Local,
                sent: Some((1012, "service restart")),
                what: "it was still open at the drain's deadline",
                ..UNANSWERED
            },
        ),
        (
            "second signal",
            Row {
                kind: Kind::Aborted,
                cause: Cause::Drain,
                end: TransportEnd::Local,
                sent: Some((1012, "service restart")),
                what: "it was aborted",
                ..UNANSWERED
            },
        ),
    ];
    let mut cases: Vec<Case> =
        rows.iter().map(|(title, row)| ((*title).to_owned(), record(row))).collect();
    for (title, ending) in &mut cases {
        evidence(title, ending);
    }
    cases
}

/// Adds what such an ending brings along.
fn evidence(title: &str, ending: &mut EndingRecord<'static>) {
    let limit = |name: &'static str, limit, observed| {
        Some(crate::contract::LimitRecord { name: name.into(), limit, observed })
    };
    match title {
        "write stalled" => {
            ending.limit = limit("write_timeout", 15_000, 15_004);
            ending.undelivered_messages = Some(3);
            ending.undelivered_bytes = Some(262_144);
            ending.oldest_queued_ms = Some(21_000);
            ending.tcp = Some(crate::contract::TcpRecord {
                retransmits: 4,
                unacked_bytes: 20_480,
                rtt_us: 41_200,
            });
        }
        "too big, peer silent" => {
            ending.limit = limit("max_message_size", 1 << 20, (1 << 20) + 1);
            ending.discarded_messages = Some(1);
        }
        "pong overdue, nothing left" => {
            ending.ping_rtt_ms = None;
            ending.last_activity_ms = Some(63_000);
        }
        "drain deadline after our Close" => ending.by = Some("drain:5b8f0a6d4c20".into()),
        "second signal" => ending.by = Some("signal:TERM".into()),
        _ => {}
    }
}
