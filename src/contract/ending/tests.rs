use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::vocabulary::{
    Cause, CloseState, ConnectionId, Direction, Fault, FirstClose, Kind, Outcome, Requester,
    Traffic, TransportEnd,
};

/// The example of the contract, every key that can have a value given one.
const FULL: &str = r#"{
  "id": "01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c17",
  "node": "a1",
  "version": "VERSION",
  "direction": "inbound",
  "listener": "public",
  "dialer": null,
  "route": "chat",
  "backend": "relay",
  "peer": "203.0.113.9:51342",
  "via": "10.0.0.2:40000",
  "local_addr": "10.0.0.5:8080",
  "tls": "TLSv1.3",
  "host": "example.org",
  "path": "/chat?room=7&token=***",
  "subprotocol": "v1.chat",
  "user_agent": "curl/8.0 \"x\"",
  "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
  "subject": "alice",
  "tags": {
    "room": "7"
  },
  "relay_peer": "01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c18",
  "upstream": {
    "url": "ws://127.0.0.1:3000/",
    "addr": "127.0.0.1:3000",
    "connect_ms": 2,
    "status": 101
  },
  "opened_at": "2026-03-01T12:00:00.250Z",
  "ended_at": "2026-03-01T12:00:12.595Z",
  "open_ms": 12345,
  "kind": "clean",
  "open_failure": null,
  "status": null,
  "fault": "operator",
  "cause": "api",
  "first_close": "local",
  "state": "closed",
  "close_sent": {
    "code": 1000,
    "reason": "bye"
  },
  "close_received": {
    "code": null,
    "reason": ""
  },
  "close_code": 1005,
  "transport_end": "fin",
  "handshake_ms": 3,
  "retry": "backoff",
  "retry_after_ms": [
    200,
    30000
  ],
  "limit": {
    "name": "max_message_size",
    "limit": 1048576,
    "observed": 1048577
  },
  "by": "api:ops",
  "detail": "asked by the API, with 1000 \"bye\"",
  "messages_in": 10,
  "messages_out": 9,
  "bytes_in": 1000,
  "bytes_out": 900,
  "undelivered_messages": 1,
  "undelivered_bytes": 100,
  "discarded_messages": 2,
  "oldest_queued_ms": 7,
  "last_activity_ms": 12,
  "ping_rtt_ms": 0.412,
  "tcp": {
    "retransmits": 1,
    "unacked_bytes": 20,
    "rtt_us": 80
  }
}"#;

fn full() -> Ending {
    let opened_at = humantime::parse_rfc3339("2026-03-01T12:00:00.250Z").unwrap();
    let mut origin = Origin::new(Direction::Inbound);
    origin.listener = Some("public".into());
    origin.route = Some("chat".into());
    origin.backend = Some("relay".into());
    origin.peer = Some("203.0.113.9:51342".into());
    origin.via = Some("10.0.0.2:40000".into());
    origin.local_addr = Some("10.0.0.5:8080".into());
    origin.tls = Some("TLSv1.3".into());
    origin.host = Some("example.org".into());
    origin.path = Some("/chat?room=7&token=***".into());
    origin.subprotocol = Some("v1.chat".into());
    origin.user_agent = Some("curl/8.0 \"x\"".into());
    origin.traceparent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into());
    origin.subject = Some("alice".into());
    origin.tags.insert("room".into(), "7".into());
    origin.upstream = Some(Upstream {
        number: None,
        url: "ws://127.0.0.1:3000/".into(),
        addr: Some("127.0.0.1:3000".into()),
        connect: Some(Duration::from_micros(2_900)),
        status: Some(101),
    });
    Ending {
        id: "01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c17".parse().unwrap(),
        node: "a1".into(),
        origin: Arc::new(origin),
        relay_peer: Some("01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c18".parse().unwrap()),
        opened_at,
        ended_at: opened_at + Duration::from_micros(12_345_999),
        open_for: Duration::from_micros(12_345_999),
        outcome: Outcome {
            kind: Kind::Clean,
            fault: Fault::Operator,
            cause: Cause::Api,
            first_close: FirstClose::Local,
            state: Some(CloseState::Closed),
            close_sent: Some(CloseFrame::new(Some(1000), "bye").unwrap()),
            close_received: Some(ReceivedClose::default()),
            transport_end: Some(TransportEnd::Fin),
            handshake: Some(Duration::from_millis(3)),
            retry: Retry::Backoff { min: Duration::from_millis(200), max: Duration::from_secs(30) },
            limit: Some(Limit {
                name: "max_message_size",
                limit: 1 << 20,
                observed: (1 << 20) + 1,
            }),
            by: Some(Requester::Api("ops".into())),
            detail: "asked by the API, with 1000 \"bye\"".into(),
        },
        traffic: Some(Traffic {
            messages_in: 10,
            messages_out: 9,
            bytes_in: 1000,
            bytes_out: 900,
            undelivered_messages: 1,
            undelivered_bytes: 100,
            discarded_messages: 2,
            oldest_queued: Some(Duration::from_millis(7)),
            last_activity: Some(Duration::from_millis(12)),
            ping_rtt: Some(Duration::from_nanos(412_345)),
        }),
        tcp: Some(TcpFacts { retransmits: 1, unacked_bytes: 20, rtt_us: 80 }),
    }
}

fn attempt(failure: OpenFailure) -> Ending {
    let now = SystemTime::UNIX_EPOCH;
    Ending {
        id: ConnectionId::new(),
        node: "a1".into(),
        origin: Arc::new(Origin::new(Direction::Outbound)),
        relay_peer: None,
        opened_at: now,
        ended_at: now,
        open_for: Duration::ZERO,
        outcome: Outcome {
            fault: Fault::Peer,
            detail: "nothing listens there".into(),
            ..Outcome::of(Kind::OpenFailed(failure))
        },
        traffic: None,
        tcp: None,
    }
}

fn json(ending: &Ending) -> serde_json::Value {
    serde_json::from_str(&EndingRecord::from(ending).to_json()).unwrap()
}

#[test]
fn a_full_ending_has_the_keys_of_the_contract_in_its_order() {
    let written = serde_json::to_string_pretty(&EndingRecord::from(&full())).unwrap();
    assert_eq!(written, FULL.replace("VERSION", Ending::VERSION));
}

#[test]
fn the_line_has_no_line_break_whatever_a_peer_sent() {
    let mut ending = full();
    ending.outcome.close_received =
        Some(ReceivedClose { code: Some(999), reason: "a\r\nb\u{1b}".into() });
    let line = EndingRecord::from(&ending).to_json();
    assert!(!line.contains(|c: char| c.is_control()), "{line}");
    assert_eq!(json(&ending)["close_received"]["code"], 999);
    assert_eq!(json(&ending)["close_code"], 999);
}

#[test]
fn what_is_unknown_is_null_and_never_absent() {
    let ending = attempt(OpenFailure::ConnectRefused);
    let sparse = json(&ending);
    let full: serde_json::Value = serde_json::from_str(FULL).unwrap();
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys(&sparse), keys(&full));

    let known = [
        "id",
        "node",
        "version",
        "direction",
        "tags",
        "opened_at",
        "ended_at",
        "open_ms",
        "kind",
        "open_failure",
        "fault",
        "cause",
        "first_close",
        "retry",
        "detail",
    ];
    for (key, value) in sparse.as_object().unwrap() {
        assert_eq!(value.is_null(), !known.contains(&key.as_str()), "{key}: {value}");
    }
    assert_eq!(sparse["tags"], serde_json::json!({}));
    assert_eq!(sparse["kind"], "open_failed");
    assert_eq!(sparse["open_failure"], "connect_refused");
    assert_eq!(sparse["opened_at"], "1970-01-01T00:00:00.000Z");
}

#[test]
fn a_rejected_upgrade_carries_its_status() {
    let rejected = json(&attempt(OpenFailure::UpgradeRejected { status: 403 }));
    assert_eq!(rejected["open_failure"], "upgrade_rejected");
    assert_eq!(rejected["status"], 403);
}

#[test]
fn a_refusal_by_the_application_carries_its_status() {
    let mut ending = attempt(OpenFailure::BackendRefused);
    assert_eq!(json(&ending)["status"], serde_json::Value::Null, "it was not asked");
    let upstream = Upstream {
        number: None,
        url: "ws://127.0.0.1:3000".to_owned(),
        addr: None,
        connect: None,
        status: Some(503),
    };
    let mut origin = Origin::new(Direction::Inbound);
    origin.upstream = Some(upstream);
    ending.origin = origin.clone().into();
    assert_eq!(json(&ending)["status"], 503);
    origin.upstream.as_mut().unwrap().status = Some(101);
    ending.origin = origin.into();
    assert_eq!(json(&ending)["status"], serde_json::Value::Null, "its 101 could not be used");
}

#[test]
fn a_connection_without_a_close_is_1006_and_an_attempt_has_no_code() {
    let mut ending = full();
    ending.outcome.close_received = None;
    assert_eq!(json(&ending)["close_code"], 1006);
    assert_eq!(json(&ending)["close_received"], serde_json::Value::Null);
    assert!(json(&attempt(OpenFailure::Dns))["close_code"].is_null());
}

#[test]
fn a_round_trip_has_at_most_three_decimals() {
    let text =
        |nanos| serde_json::to_string(&fractional_millis(Duration::from_nanos(nanos))).unwrap();
    assert_eq!(text(400_000), "0.4");
    assert_eq!(text(1_999), "0.001");
    assert_eq!(text(2_000_000), "2.0");
    assert_eq!(text(123_456_789_999), "123456.789");
}

#[test]
fn a_record_reads_back_and_passes_over_fields_to_come() {
    let ending = full();
    let record = EndingRecord::from(&ending);
    let json = record.to_json();
    let mut read: EndingRecord<'static> = serde_json::from_str(&json).unwrap();
    assert_eq!(read.to_json(), json);

    let later = json.replacen('{', "{\"not_yet_invented\":1,", 1);
    read = serde_json::from_str(&later).unwrap();
    assert_eq!(read.to_json(), json);
}
