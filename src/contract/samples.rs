//! Records as the daemon returns them.

use crate::contract::{ConnectionRecord, DrainRecord, EndingRecord, OpenedRecord, StatusRecord};

const ORIGIN: &str = r#""node":"a1","version":"0.1.0","direction":"inbound","listener":"public",
  "dialer":null,"route":"chat","backend":"echo","peer":"203.0.113.9:51342",
  "local_addr":"10.0.0.5:8080","tls":null,"host":"example.org","path":"/chat?room=7&token=***",
  "subprotocol":null,"user_agent":"curl/8.0","traceparent":null,"subject":"ann",
  "tags":{"room":"7"},"upstream":null"#;

fn read<T: serde::de::DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).unwrap()
}

/// An open connection.
pub(crate) fn connection() -> ConnectionRecord<'static> {
    read(&format!(
        r#"{{"id":"01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c17",{ORIGIN},
          "opened_at":"2026-03-01T12:00:00.250Z","open_ms":11520000,"state":"open",
          "messages_in":10,"messages_out":9,"bytes_in":1000,"bytes_out":900,
          "queued_messages":0,"queued_bytes":0,"oldest_queued_ms":null,"discarded_messages":0,
          "last_activity_ms":12,"ping_rtt_ms":0.412}}"#
    ))
}

/// A connection that was dialled and is being closed.
pub(crate) fn dialled() -> ConnectionRecord<'static> {
    let mut dialled = connection();
    dialled.id = "01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c18".into();
    dialled.origin.direction = "outbound".into();
    dialled.origin.listener = None;
    dialled.origin.route = None;
    dialled.origin.dialer = Some("feed".into());
    dialled.origin.peer = Some("198.51.100.7:443".into());
    dialled.origin.subject = None;
    dialled.upstream = Some(crate::contract::UpstreamRecord {
        url: "wss://feed.example.org/stream".into(),
        addr: Some("198.51.100.7:443".into()),
        connect_ms: Some(12),
        status: Some(101),
    });
    dialled.open_ms = 1000;
    dialled.state = "close_sent".into();
    (dialled.messages_in, dialled.messages_out) = (0, 0);
    (dialled.bytes_in, dialled.bytes_out) = (0, 0);
    (dialled.queued_messages, dialled.queued_bytes) = (2, 1536);
    dialled.oldest_queued_ms = Some(7000);
    (dialled.last_activity_ms, dialled.ping_rtt_ms) = (None, None);
    dialled
}

/// A connection that has just opened.
pub(crate) fn opened() -> OpenedRecord<'static> {
    read(&format!(
        r#"{{"id":"01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c17",{ORIGIN},
          "opened_at":"2026-03-01T12:00:00.250Z"}}"#
    ))
}

/// A clean ending.
pub(crate) fn ending() -> EndingRecord<'static> {
    read(&format!(
        r#"{{"id":"01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c17",{ORIGIN},"relay_peer":null,
          "opened_at":"2026-03-01T12:00:00.250Z","ended_at":"2026-03-01T12:00:12.595Z",
          "open_ms":12345,"kind":"clean","open_failure":null,"status":null,"fault":"none",
          "cause":"peer","first_close":"peer","state":"closed",
          "close_sent":{{"code":1000,"reason":"bye"}},
          "close_received":{{"code":1000,"reason":"bye"}},"close_code":1000,
          "transport_end":"fin","handshake_ms":3,"retry":"never","retry_after_ms":null,
          "limit":null,"by":null,"detail":"the peer closed first, with 1000 \"bye\"",
          "messages_in":10,"messages_out":9,"bytes_in":1000,"bytes_out":900,
          "undelivered_messages":0,"undelivered_bytes":0,"discarded_messages":0,
          "oldest_queued_ms":null,"last_activity_ms":12,"ping_rtt_ms":0.412,
          "tcp":{{"retransmits":0,"unacked_bytes":0,"rtt_us":80}}}}"#
    ))
}

/// An attempt that failed.
pub(crate) fn attempt(failure: &'static str) -> EndingRecord<'static> {
    let mut attempt = ending();
    attempt.id = "01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c19".into();
    attempt.origin.route = None;
    attempt.origin.backend = None;
    attempt.origin.subject = None;
    attempt.kind = "open_failed".into();
    attempt.open_failure = Some(failure.into());
    attempt.fault = "peer".into();
    attempt.cause = "none".into();
    attempt.first_close = "none".into();
    attempt.open_ms = 2;
    attempt.detail = "no route for /x; answered 404".into();
    attempt.state = None;
    (attempt.close_sent, attempt.close_received, attempt.close_code) = (None, None, None);
    attempt.handshake_ms = None;
    attempt.transport_end = None;
    (attempt.messages_in, attempt.messages_out) = (None, None);
    (attempt.bytes_in, attempt.bytes_out) = (None, None);
    (attempt.undelivered_messages, attempt.undelivered_bytes) = (None, None);
    (attempt.discarded_messages, attempt.last_activity_ms) = (None, None);
    (attempt.ping_rtt_ms, attempt.tcp) = (None, None);
    attempt
}

/// A drain of ten connections, three of which have ended.
pub(crate) fn drain(phase: &str) -> DrainRecord<'static> {
    read(&format!(
        r#"{{"id":"5b8f0a6d4c20","phase":"{phase}",
          "select":{{"route":null,"subject":null,"tag":null}},"stay":false,"code":1012,
          "reason":"service restart","by":"api:ops","started_at":"2026-03-01T12:00:00.250Z",
          "within_ms":60000,"took_ms":12000,"total":10,"asked":6,"closed":3,"cut":0,"left":7,
          "stragglers":{{"open":4,"close_sent":2,"close_received":0,"closed":1}}}}"#
    ))
}

/// A daemon that fares well.
pub(crate) fn status() -> StatusRecord<'static> {
    read(
        r#"{"version":"0.1.0","node":"a1","started_at":"2026-03-01T12:00:00.250Z",
          "uptime_ms":11520000,"phase":"running",
          "accepting":true,"accepting_why":null,
          "accounting":{"opened":10,"open":3,"ended":7,"balanced":true},
          "ledger":{"state":"good","problem":null,"unrecorded":0,"recovered":0},"drain":null}"#,
    )
}
