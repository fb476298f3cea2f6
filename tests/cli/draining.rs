//! `drain`: begun, watched, called off, interrupted.

use std::process::{Command, Stdio};

use serde_json::json;

use super::PROGRAM;
use super::fake::{Fake, Reply};
use super::records::{backend, connection, drain, page, status};

fn begun(id: &str) -> Reply {
    Reply::Json(202, drain(id, "running", 10, 0))
}

#[test]
fn a_drain_is_watched_to_its_end() {
    let fake = Fake::new([
        begun("d1"),
        Reply::ok(drain("d1", "running", 4, 0)),
        Reply::ok(drain("d1", "finished", 0, 2)),
    ]);
    let ran = fake.run(&["drain", "--within", "90s", "--spread", "30s", "--select", "route=chat"]);
    // Some were cut off: it is said, and it is no failure.
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(
        ran.stdout,
        "finished: 10 connections, 8 closed, 2 cut off at the deadline, in 1.2 s; new connections \
         are accepted again\n"
    );
    assert!(
        ran.stderr.contains("running: 0 of 10 closed; 10 left (10 not answered yet"),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("running: 6 of 10 closed; 4 left"), "{ran:?}");
    assert_eq!(fake.lines(), ["POST /v1/drain", "GET /v1/drain", "GET /v1/drain"]);
    assert_eq!(
        fake.asked()[0].json(),
        json!({"within": "1m 30s", "spread": "30s", "select": {"route": "chat"}})
    );
}

#[test]
fn every_answer_is_passed_on_byte_for_byte() {
    let (first, last) = (drain("d1", "running", 10, 0), drain("d1", "finished", 0, 0));
    let fake = Fake::new([Reply::Json(202, first.clone()), Reply::ok(&last)]);
    let ran = fake.run(&["drain", "--json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(ran.stdout, format!("{first}\n{last}\n"));
    assert_eq!(fake.asked()[0].json(), json!({}));
}

#[test]
fn a_drain_stays_if_it_is_asked_to_and_a_selection_must_match() {
    let stays = drain("d1", "finished", 0, 0).replace(r#""stay":false"#, r#""stay":true"#);
    let fake = Fake::new([begun("d1"), Reply::ok(stays)]);
    let ran = fake.run(&["drain", "--stay"]);
    assert!(ran.code == Some(0) && ran.stdout.contains("refused until `lastword"), "{ran:?}");
    assert_eq!(fake.asked()[0].json(), json!({"stay": true}));

    let select = r#""select":{"route":"typo","subject":null,"tag":null,"upstream":null}"#;
    let nothing = drain("d1", "finished", 0, 0).replace(r#""total":10"#, r#""total":0"#);
    let nothing = nothing.replace(r#""select":{"route":null,"subject":null,"tag":null}"#, select);
    let fake = Fake::new([Reply::Json(202, nothing)]);
    let ran = fake.run(&["drain", "--select", "route=typo"]);
    assert!(
        ran.code == Some(1) && ran.stderr.contains("no connection matches route=typo"),
        "{ran:?}"
    );
}

#[test]
fn a_drain_that_somebody_else_ends_has_failed() {
    let fake = Fake::new([begun("d1"), Reply::ok(drain("d1", "cancelled", 4, 0))]);
    let ran = fake.run(&["drain"]);
    assert!(ran.code == Some(1) && ran.stdout.starts_with("cancelled: "), "{ran:?}");
    let fake = Fake::new([begun("d1"), Reply::ok(drain("d2", "running", 4, 0))]);
    let ran = fake.run(&["drain"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("another one"), "{ran:?}");
    let fake = Fake::new([Reply::Problem(409, "drain_under_way", "a drain is under way")]);
    assert_eq!(fake.run(&["drain"]).code, Some(1));
}

#[test]
fn a_drain_is_begun_and_called_off_without_waiting() {
    let fake = Fake::new([begun("d1"), Reply::ok(drain("d1", "cancelled", 4, 0))]);
    let ran = fake.run(&["drain", "--no-wait"]);
    assert!(ran.code == Some(0) && ran.stdout.contains("10 connections"), "{ran:?}");
    let ran = fake.run(&["drain", "--cancel"]);
    assert!(ran.code == Some(0) && ran.stdout.starts_with("cancelled: "), "{ran:?}");
    assert_eq!(fake.lines(), ["POST /v1/drain", "DELETE /v1/drain"]);
}

#[test]
fn a_rate_has_the_time_that_it_needs() {
    let fake = Fake::new([Reply::ok(status()), begun("d1")]);
    assert_eq!(fake.run(&["drain", "--rate", "1", "--no-wait"]).code, Some(0));
    assert_eq!(fake.asked()[1].json(), json!({"within": "1m 3s", "rate": 1}));

    let chat = page("connections", &[connection("5b8f0a6d4c17")], None);
    let fake = Fake::new([Reply::ok(chat), begun("d1")]);
    let ran = fake.run(&["drain", "--rate", "1", "--select", "route=chat", "--no-wait"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(fake.lines()[0], "GET /v1/connections?route=chat&limit=200");
    assert_eq!(fake.asked()[1].json()["within"], "1m 1s");

    let fake = Fake::new([Reply::ok(status())]);
    let ran = fake.run(&["drain", "--rate", "1", "--within", "2s"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("3 s"), "{ran:?}");
    assert_eq!(fake.lines(), ["GET /v1/status"], "nothing was begun");
}

#[test]
fn an_interrupted_watch_leaves_the_drain_running() {
    let fake = Fake::new([begun("d1"), Reply::Silence]);
    let child = Command::new(PROGRAM)
        .args(["drain", "--control", &fake.address])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It is watching, so it handles signals.
    fake.await_asked(2);
    let killed = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status();
    assert!(killed.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the drain continues") && said.contains("--cancel"), "{said}");
    assert_eq!(fake.lines(), ["POST /v1/drain", "GET /v1/drain"], "nothing was called off");
}

#[test]
fn one_application_is_drained_and_resumed() {
    let finished = drain("d1", "finished", 0, 0);
    let fake = Fake::new([Reply::Json(202, finished)]);
    let ran = fake.run(&["drain", "--backend", "my app/1", "--within", "9s"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(fake.lines(), ["POST /v1/backends/my%20app/1/drain"]);
    assert_eq!(fake.asked()[0].json(), json!({"within": "9s"}));

    let fake = Fake::new([Reply::ok(backend("chat", 1, "serving"))]);
    let ran = fake.run(&["drain", "--backend", "chat/1", "--cancel"]);
    assert_eq!((ran.code, &*ran.stdout), (Some(0), "chat/1 (ws://app:1) is serving\n"));
    assert_eq!(fake.lines(), ["DELETE /v1/backends/chat/1/drain"]);

    for wrong in ["chat", "/0", "chat/", "chat/x", "chat/-1"] {
        let ran = Fake::new([]).run(&["drain", "--backend", wrong]);
        assert!(ran.code == Some(2) && ran.stderr.contains("such as chat/0"), "{ran:?}");
    }
}

#[test]
fn applications_are_listed() {
    let all = format!(
        r#"{{"backends":[{},{}]}}"#,
        backend("a", 0, "serving"),
        backend("b", 7, "draining")
    );
    let fake = Fake::new([Reply::ok(&all), Reply::ok(&all), Reply::ok(r#"{"backends":[]}"#)]);
    let ran = fake.run(&["backends"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines.len() == 3 && lines[0].starts_with("BACKEND"), "{ran:?}");
    assert!(lines[2].starts_with("b/7") && lines[2].contains("draining"), "{ran:?}");
    assert_eq!(fake.run(&["backends", "--json"]).stdout, format!("{all}\n"));
    let ran = fake.run(&["backends"]);
    assert_eq!((ran.code, &*ran.stdout), (Some(0), ""));
    assert!(ran.stderr.contains("no route relays"), "{ran:?}");
}
