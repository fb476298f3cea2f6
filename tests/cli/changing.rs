//! What is done to connections: `send`, `broadcast`, `close`, `abort`, `dial`.

use serde_json::json;

use super::fake::{Fake, Reply, problem};
use super::ran;
use super::records::{attempt, connection, ending};

const ACCEPTED: &str = r#"{"id":"x","state":"open","queued_bytes":2}"#;

fn accepted() -> Reply {
    Reply::Json(202, ACCEPTED.to_owned())
}

#[test]
fn a_message_goes_as_text_or_as_it_is() {
    let fake = Fake::new([accepted(), accepted(), accepted(), accepted()]);
    let ran_text = fake.run(&["send", "5b8f0a6d4c17", "hé \"x\""]);
    assert_eq!((ran_text.code, ran_text.stdout.as_str()), (Some(0), "queued for 5b8f0a6d4c17\n"));
    let mut piped = fake.command(&["send", "5b8f0a6d4c17", "-"]);
    piped.write_stdin("from a pipe\n");
    assert_eq!(ran(piped).code, Some(0));
    let mut piped = fake.command(&["send", "5b8f0a6d4c17", "--binary-file", "-", "--json"]);
    piped.write_stdin([0_u8, 255, 1]);
    assert_eq!(ran(piped).stdout, format!("{ACCEPTED}\n"));
    let bodies: Vec<_> = fake.asked().iter().map(super::fake::Asked::json).collect();
    assert_eq!(
        bodies,
        [json!({"text": "hé \"x\""}), json!({"text": "from a pipe\n"}), json!({"binary": "AP8B"})]
    );
    let first = &fake.asked()[0];
    assert_eq!(first.line, "POST /v1/connections/5b8f0a6d4c17/messages");
    assert_eq!(first.header("content-type"), Some("application/json"));
}

#[test]
fn a_broadcast_fails_if_no_connection_took_it() {
    let report = |matched: u64, queued: u64, refused: u64| {
        Reply::ok(format!(r#"{{"matched":{matched},"queued":{queued},"refused":{refused}}}"#))
    };
    let fake = Fake::new([report(3, 2, 1), report(3, 0, 3), report(0, 0, 0)]);
    let told = fake.run(&["broadcast", "route=chat,tag=room:7", "hi"]);
    assert!(told.code == Some(0) && told.stdout.contains("2 of 3"), "{told:?}");
    assert_eq!(fake.run(&["broadcast", "all", "hi"]).code, Some(1));
    let unmatched = fake.run(&["broadcast", "subject=ann", "hi"]);
    assert_eq!(unmatched.code, Some(1));
    assert!(unmatched.stderr.contains("no connection matches subject=ann"), "{unmatched:?}");
    let bodies: Vec<_> = fake.asked().iter().map(super::fake::Asked::json).collect();
    assert_eq!(
        bodies,
        [
            json!({"select": {"route": "chat", "tag": "room:7"}, "text": "hi"}),
            json!({"select": {}, "text": "hi"}),
            json!({"select": {"subject": "ann"}, "text": "hi"}),
        ]
    );
}

#[test]
fn dialers_are_listed_and_commanded_by_name() {
    let dialer = r#"{"name":"feed","url":"ws://a","state":"ready","why":null,"since":"2026-03-01T12:00:00.000Z","next_try_at":null,"attempts":0,"connection":null,"rotating":false,"last_ending":null,"opened":1,"gaps":0,"by":null}"#;
    let list = format!(r#"{{"dialers":[{dialer}]}}"#);
    let taken = || Reply::Json(202, dialer.to_owned());
    let fake = Fake::new([
        Reply::ok(&list),
        Reply::ok(&list),
        Reply::ok(r#"{"dialers":[]}"#),
        taken(),
        taken(),
        taken(),
        taken(),
        taken(),
        Reply::not_found(),
        Reply::Problem(
            409,
            "invalid_state",
            "feed is waiting: only one that is ready can be rotated",
        ),
    ]);
    let listed = fake.run(&["dialers"]);
    assert_eq!(listed.code, Some(0));
    assert!(listed.stdout.contains("feed") && listed.stdout.contains("ready"), "{listed:?}");
    assert_eq!(fake.run(&["dialers", "--json"]).stdout, format!("{list}\n"));
    let none = fake.run(&["dialers"]);
    assert_eq!((none.code, &*none.stdout, &*none.stderr), (Some(0), "", "no dialers\n"));
    for (command, said) in [
        ("pause", "dialer feed pauses\n"),
        ("resume", "dialer feed resumes\n"),
        ("rotate", "dialer feed rotates\n"),
        ("remove", "dialer feed is removed\n"),
    ] {
        let ran = fake.run(&["dialer", command, "feed"]);
        assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (Some(0), said, ""), "{command}");
    }
    let json = fake.run(&["dialer", "pause", "a/b", "--json"]);
    assert_eq!((json.code, json.stdout), (Some(0), format!("{dialer}\n")));
    for refused in [["dialer", "remove", "nobody"], ["dialer", "rotate", "feed"]] {
        let ran = fake.run(&refused);
        assert_eq!((ran.code, &*ran.stdout), (Some(1), ""), "{ran:?}");
    }
    assert_eq!(
        fake.lines()[3..],
        [
            "POST /v1/dialers/feed/pause",
            "POST /v1/dialers/feed/resume",
            "POST /v1/dialers/feed/rotate",
            "DELETE /v1/dialers/feed",
            "POST /v1/dialers/a%2Fb/pause",
            "DELETE /v1/dialers/nobody",
            "POST /v1/dialers/feed/rotate",
        ]
    );
    for usage in [&["dialer"][..], &["dialer", "pause"], &["dialer", "stop", "feed"]] {
        assert_eq!(fake.run(usage).code, Some(2), "{usage:?}");
    }
}

#[test]
fn a_close_waits_for_the_ending_unless_told_not_to() {
    let fake = Fake::new([Reply::ok(ending("5b8f0a6d4c17")), accepted(), Reply::Silence]);
    let waited = fake.run(&["close", "5b8f0a6d4c17", "--code", "4000", "--reason", "so long"]);
    assert_eq!(waited.code, Some(0), "{waited:?}");
    assert!(waited.stdout.starts_with("5b8f0a6d4c17  "), "{waited:?}");
    assert!(waited.stdout.contains("closed_prematurely: the peer ended TCP"), "{waited:?}");
    let sent = fake.run(&["close", "5b8f0a6d4c17", "--no-wait"]);
    assert!(sent.code == Some(0) && sent.stdout.contains("closing"), "{sent:?}");
    let slow = fake.run(&["close", "5b8f0a6d4c17", "--timeout", "200ms"]);
    assert_eq!(slow.code, Some(1), "{slow:?}");
    assert!(slow.stderr.contains("lastword why 5b8f0a6d4c17"), "{slow:?}");
    let asked = fake.asked();
    assert_eq!(asked[0].line, "POST /v1/connections/5b8f0a6d4c17/close");
    assert_eq!(asked[0].json(), json!({"code": 4000, "reason": "so long", "wait": true}));
    assert_eq!(asked[1].json(), json!({"code": 1000, "reason": "", "wait": false}));
}

#[test]
fn an_abort_tells_the_ending() {
    let fake = Fake::new([Reply::ok(ending("5b8f0a6d4c17")), accepted()]);
    let aborted = fake.run(&["abort", "5b8f0a6d4c17"]);
    assert!(aborted.code == Some(0) && aborted.stdout.starts_with("5b8f0a6d4c17  "), "{aborted:?}");
    // Not recorded yet.
    assert_eq!(fake.run(&["abort", "5b8f0a6d4c17"]).code, Some(0));
    assert_eq!(fake.lines()[0], "DELETE /v1/connections/5b8f0a6d4c17");
}

#[test]
fn a_dial_tells_the_connection_or_the_attempt() {
    let refused = problem(502, "open_failed", "nothing listens there");
    let refused = refused.replace('}', &format!(",\"ending\":{}}}", attempt("5b8f0a6d4c19")));
    let fake = Fake::new([Reply::Json(201, connection("5b8f0a6d4c17")), Reply::Json(502, refused)]);
    let open = fake.run(&[
        "dial",
        "ws://127.0.0.1:9/x",
        "--header",
        "X-A: b: c",
        "--subprotocol",
        "v1",
        "--tag",
        "room=7",
        "--backend",
        "echo",
    ]);
    assert_eq!(
        (open.code, open.stdout.as_str()),
        (Some(0), "5b8f0a6d4c17  open to 203.0.113.9:51342\n")
    );
    assert_eq!(
        fake.asked()[0].json(),
        json!({
            "url": "ws://127.0.0.1:9/x",
            "headers": {"X-A": "b: c"},
            "subprotocols": ["v1"],
            "tags": {"room": "7"},
            "backend": "echo"
        })
    );
    let failed = fake.run(&["dial", "ws://127.0.0.1:9/x"]);
    assert_eq!((failed.code, failed.stdout.as_str()), (Some(1), ""));
    assert!(failed.stderr.contains("nothing listens there"), "{failed:?}");
    assert!(failed.stderr.contains("lastword why 5b8f0a6d4c19"), "{failed:?}");
    assert_eq!(fake.asked()[1].json(), json!({"url": "ws://127.0.0.1:9/x"}));
}

#[test]
fn a_dial_that_is_to_be_repeated_makes_a_dialer() {
    let dialer = r#"{"name":"feed","url":"ws://127.0.0.1:9/x?a=***","state":"connecting","why":null,
        "since":"2026-07-14T09:26:53.589Z","next_try_at":null,"attempts":0,"connection":null,
        "rotating":false,"last_ending":null,"opened":0,"gaps":0,"by":"api:anonymous"}"#;
    let taken = problem(409, "name_taken", "there is a dialer of that name already");
    let fake = Fake::new([Reply::Json(201, dialer.to_owned()), Reply::Json(409, taken)]);
    let line = ["dial", "ws://127.0.0.1:9/x?a=b", "--reconnect", "--name", "feed"];
    let made = fake.run(&line);
    let said = "dialer feed  connecting to ws://127.0.0.1:9/x?a=***\n";
    assert_eq!((made.code, made.stdout.as_str()), (Some(0), said), "{made:?}");
    let body = json!({"url": "ws://127.0.0.1:9/x?a=b", "reconnect": true, "name": "feed"});
    assert_eq!(fake.asked()[0].json(), body);
    assert_eq!(fake.run(&line).code, Some(1));
    assert_eq!(fake.run(&["dial", "ws://x", "--name", "feed"]).code, Some(2));
}
