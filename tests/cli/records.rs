//! Records as the API returns them, with blanks in odd places: what is passed on must keep them.

const ORIGIN: &str = r#""node":"a1",  "version":"0.1.0","direction":"inbound","listener":"public",
"dialer":null,"route":"chat","backend":"echo","peer":"203.0.113.9:51342","local_addr":null,"tls":null,
"host":"example.org","path":"/chat","subprotocol":null,"user_agent":"curl/8.0","traceparent":null,
"subject":"ann","tags":{},"upstream":null"#;

/// The id whose last 12 digits are these.
pub(super) fn id(digits: &str) -> String {
    format!("01982b7e-4f6a-7c3d-9e21-{digits}")
}

pub(super) fn connection(digits: &str) -> String {
    format!(
        r#"{{"id":"{}",{ORIGIN},"opened_at":"2026-03-01T12:00:00.250Z","open_ms":61000,
"state":"open","messages_in":1,"messages_out":2,"bytes_in":3,"bytes_out":4,"queued_messages":0,
"queued_bytes":0,"oldest_queued_ms":null,"discarded_messages":0,"last_activity_ms":12,
"ping_rtt_ms":0.4}}"#,
        id(digits)
    )
}

pub(super) fn ending(digits: &str) -> String {
    format!(
        r#"{{"id":"{}",{ORIGIN},"relay_peer":null,"opened_at":"2026-03-01T12:00:00.250Z",
"ended_at":"2026-03-01T12:00:12.595Z","open_ms":12345,"kind":"closed_prematurely",
"open_failure":null,"status":null,"fault":"peer","cause":"none","first_close":"none","state":"open",
"close_sent":null,"close_received":null,"close_code":1006,"transport_end":"fin","handshake_ms":null,
"retry":"backoff","retry_after_ms":[1000,30000],"limit":null,"by":null,
"detail":"the peer ended TCP (FIN) between messages","messages_in":1,"messages_out":2,"bytes_in":3,
"bytes_out":4,"undelivered_messages":0,"undelivered_bytes":0,"discarded_messages":0,
"oldest_queued_ms":null,"last_activity_ms":12,"ping_rtt_ms":0.4,
"tcp":{{"retransmits":0,"unacked_bytes":0,"rtt_us":80}}}}"#,
        id(digits)
    )
}

pub(super) fn attempt(digits: &str) -> String {
    ending(digits)
        .replace("closed_prematurely", "open_failed")
        .replace(r#""open_failure":null"#, r#""open_failure":"connect_refused""#)
        .replace(r#""state":"open""#, r#""state":null"#)
        .replace(r#""close_code":1006"#, r#""close_code":null"#)
}

/// A page of `connections` or `endings`.
pub(super) fn page(of: &str, items: &[String], next: Option<&str>) -> String {
    let next = next.map_or("null".to_owned(), |next| format!("{next:?}"));
    format!(r#"{{"{of}": [{}],"next":{next}}}"#, items.join(","))
}

pub(super) fn drain(id: &str, phase: &str, left: u64, cut: u64) -> String {
    format!(
        r#"{{"id":"{id}","phase":"{phase}","select":{{"route":null,"subject":null,"tag":null}},"stay":false,
"code":1012,"reason":"service restart","by":null,"started_at":"2026-03-01T12:00:00.250Z",
"within_ms":60000,"took_ms":1200,"total":10,"asked":10,"closed":{},"cut":{cut},"left":{left},
"stragglers":{{"open":0,"close_sent":{left},"close_received":0,"closed":0}}}}"#,
        10 - left
    )
}

pub(super) fn status() -> String {
    r#"{"version":"0.1.0","node":"a1","started_at":"2026-03-01T12:00:00.250Z","uptime_ms":61000,
"phase":"running","accepting":true,"accepting_why":null,"accounting":{"opened":10,"open":3,"ended":7,"balanced":true},
"ledger":{"state":"good","problem":null,"unrecorded":0,"recovered":0},"drain":null}"#
        .to_owned()
}

pub(super) const SUMMARY: &str =
    r#"{"by":"kind", "counts":[{"value":"clean","count":3},{"value":null,"count":1}],"total":4}"#;

/// An application behind a relay.
pub(super) fn backend(route: &str, number: u64, state: &str) -> String {
    serde_json::json!({
        "route": route, "number": number, "url": "ws://app:1", "state": state,
        "ejected_until": null, "healthy": true, "connections": 3, "failures": 0, "chosen": 17,
        "ejections": 0
    })
    .to_string()
}
