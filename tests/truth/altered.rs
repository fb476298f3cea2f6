//! Records that are altered, lost or doubled are found: the judge is judged.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::journal::Deeds;
use super::judge::{Evidence, Fault, judge};
use super::plan::{Pace, Place, Plot, Role, Route, Said, Script, Story, Tcp, Way, Words};

/// One message, then a Close, all of it in order.
fn script() -> Script {
    let story = Story {
        talk: vec![Said { binary: false, length: 5, fragments: 1 }],
        awaited: true,
        pushed: 0,
        place: Place::Between,
        way: Way::Closes(Words::Code(1000, "bye".to_owned()), Tcp::Fin),
    };
    let plot =
        Plot::Single { role: Role::Inbound, tls: false, route: Route::Of(Pace::Patient), story };
    Script { number: 3, mark: "tabc-3".to_owned(), plot }
}

/// Its record, as it is right.
fn record() -> Value {
    let text = r#"{
        "id": "01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c17", "node": "truth",
        "version": "VERSION", "direction": "inbound", "listener": "plain",
        "dialer": null, "route": "echo-patient", "backend": "echo", "peer": "127.10.0.4:51342",
        "via": null, "local_addr": "127.0.0.1:8080", "tls": null, "host": "localhost",
        "path": "/echo-patient/tabc-3", "subprotocol": null, "user_agent": "tabc-3",
        "traceparent": null, "subject": null, "tags": {"mark": "tabc-3"}, "relay_peer": null,
        "upstream": null, "opened_at": "2026-03-01T12:00:00.000Z",
        "ended_at": "2026-03-01T12:00:01.000Z", "open_ms": 1000, "kind": "clean",
        "open_failure": null, "status": null, "fault": "none", "cause": "peer",
        "first_close": "peer", "state": "closed",
        "close_sent": {"code": 1000, "reason": "bye"},
        "close_received": {"code": 1000, "reason": "bye"}, "close_code": 1000,
        "transport_end": "fin", "handshake_ms": 0, "retry": "never", "retry_after_ms": null,
        "limit": null, "by": null, "detail": "the peer closed first, with 1000 \"bye\"",
        "messages_in": 1, "messages_out": 1, "bytes_in": 5, "bytes_out": 5,
        "undelivered_messages": 0, "undelivered_bytes": 0, "discarded_messages": 0,
        "oldest_queued_ms": null, "last_activity_ms": 1, "ping_rtt_ms": null,
        "tcp": {"retransmits": 0, "unacked_bytes": 0, "rtt_us": 9}
    }"#;
    let text = text.replace("VERSION", env!("CARGO_PKG_VERSION"));
    serde_json::from_str(&text).unwrap()
}

/// What the judge finds in these records.
fn found(script: &Script, records: &[Value]) -> Vec<(Fault, String)> {
    let deeds = Deeds::with(&[
        ("peer", "address", json!("127.10.0.4:51342")),
        ("peer", "read", json!({"code": 1000, "reason": "bye"})),
    ]);
    let verdict = judge(&Evidence {
        seed: 0xabc,
        scripts: std::slice::from_ref(script),
        deeds: &HashMap::from([(script.number, deeds)]),
        records,
        published: &HashSet::new(),
    });
    verdict.findings.into_iter().map(|finding| (finding.fault, finding.what)).collect()
}

fn faults(script: &Script, records: &[Value]) -> Vec<Fault> {
    found(script, records).into_iter().map(|(fault, _)| fault).collect()
}

#[test]
fn what_is_right_is_right() {
    assert_eq!(found(&script(), &[record()]), []);
}

#[test]
fn each_field_that_is_altered_is_found() {
    // What only the daemon knows, and what an alteration leaves possible.
    let unchecked = ["local_addr", "last_activity_ms", "ping_rtt_ms", "oldest_queued_ms", "tcp"];
    let fields: Vec<String> = record().as_object().unwrap().keys().cloned().collect();
    for field in fields.iter().filter(|field| !unchecked.contains(&field.as_str())) {
        for altered in [json!("altered"), json!(12_345), Value::Null] {
            let mut record = record();
            if record[field] == altered {
                continue;
            }
            record[field] = altered;
            let found = faults(&script(), &[record.clone()]);
            assert!(!found.is_empty(), "{field} is {}", record[field]);
        }
    }
}

#[test]
fn a_field_that_is_absent_is_found() {
    for field in ["kind", "limit", "subprotocol"] {
        let mut record = record();
        record.as_object_mut().unwrap().remove(field);
        assert!(!faults(&script(), &[record]).is_empty(), "{field}");
    }
}

#[test]
fn what_is_missing_twice_or_not_due_is_found() {
    assert_eq!(faults(&script(), &[]), [Fault::Missing]);
    assert_eq!(faults(&script(), &[record(), record()]), [Fault::Twice]);
    let mut stray = record();
    stray["path"] = json!("/elsewhere");
    stray["peer"] = json!("127.0.0.1:9");
    assert_eq!(faults(&script(), &[record(), stray]), [Fault::Wrong]);
}

#[test]
fn a_place_that_is_not_the_right_one_is_found() {
    let mut script = script();
    let Plot::Single { story, .. } = &mut script.plot else { unreachable!("it is one") };
    story.way = Way::Lost(Tcp::Fin);
    // A header of 8 bytes, and 12 of the payload.
    let begun = super::plan::Begun::Binary;
    story.place = Place::Inside { begun, length: 4096, sent: 20 };
    let lost = |place: &str| {
        let mut record = record();
        for (field, value) in [
            ("kind", json!("closed_prematurely")),
            ("fault", json!("peer")),
            ("cause", json!("none")),
            ("first_close", json!("none")),
            ("state", json!("open")),
            ("close_sent", Value::Null),
            ("close_received", Value::Null),
            ("close_code", json!(1006)),
            ("handshake_ms", Value::Null),
            ("retry", json!("backoff")),
            ("retry_after_ms", json!([1000, 30_000])),
            ("detail", json!(format!("the peer ended TCP (FIN) {place}"))),
        ] {
            record[field] = value;
        }
        record
    };
    assert_eq!(found(&script, &[lost("inside a payload (12 of 4096 bytes)")]), []);
    for wrong in ["inside a payload (13 of 4096 bytes)", "inside a header", "between messages"] {
        assert_eq!(faults(&script, &[lost(wrong)]), [Fault::Wrong], "{wrong}");
    }
}
