//! `revoke` and `revocations`.

use serde_json::{Value, json};

use super::daemon::told;
use super::fake::{Fake, Reply};
use super::{PROGRAM, lastword, ran};
use crate::support::daemon::Daemon;

const MADE: &str = r#"{"number":7,"subject":"ann","issued_before":null,"jti":null,
    "created_at":"2026-03-01T12:00:00.000Z","expires_at":null,"by":"api:ops","closed":2}"#;

#[test]
fn what_is_asked_for_is_what_the_arguments_say() {
    let made = || Reply::Json(201, MADE.to_owned());
    let fake = Fake::new([made(), made(), made(), Reply::ok(MADE.to_owned())]);
    let ran = fake.run(&["revoke", "ann"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(
        ran.stdout,
        "revocation 7: subject ann, until it is deleted; closed 2 connections\n"
    );
    let time = "2030-01-01T00:00:00Z";
    fake.run(&["revoke", "ann", "--issued-before", time, "--expires-at", time]);
    fake.run(&["revoke", "--jti", "t1", "--for", "1h"]);
    let deleted = fake.run(&["revoke", "--delete", "7"]);
    assert_eq!(deleted.stdout, "revocation 7 deleted: subject ann may connect again\n");
    let asked = fake.asked();
    let lines: Vec<&str> = asked.iter().map(|asked| asked.line.as_str()).collect();
    let post = "POST /v1/revocations";
    assert_eq!(lines, [post, post, post, "DELETE /v1/revocations/7"]);
    let none = Value::Null;
    let bodies: Vec<Value> = asked[..3].iter().map(super::fake::Asked::json).collect();
    assert_eq!(
        bodies[0],
        json!({"subject": "ann", "jti": none, "issued_before": none, "expires_at": none})
    );
    let time = "2030-01-01T00:00:00.000Z";
    assert_eq!(
        bodies[1],
        json!({"subject": "ann", "jti": none, "issued_before": time, "expires_at": time})
    );
    assert_eq!(bodies[2]["jti"], "t1");
    assert!(bodies[2]["expires_at"].as_str().is_some_and(|time| time.ends_with('Z')), "{bodies:?}");
}

#[test]
fn arguments_that_mean_nothing_are_bad_usage() {
    for arguments in [
        &["revoke"][..],
        &["revoke", "ann", "--jti", "t1"],
        &["revoke", "ann", "--delete", "7"],
        &["revoke", "--jti", "t1", "--issued-before", "now"],
        &["revoke", "ann", "--for", "1h", "--expires-at", "2030-01-01T00:00:00Z"],
        &["revoke", "ann", "--for", "soon"],
        &["revoke", "ann", "--expires-at", "1h"],
        &["revoke", "--delete", "seven"],
        &["revocations", "--subject", "ann", "--jti", "t1"],
    ] {
        assert_eq!(ran(lastword(arguments)).code, Some(2), "{arguments:?}");
    }
}

#[test]
fn a_refusal_is_a_failure() {
    let refusals = [
        Reply::Problem(404, "not_found", "there is no revocation 7"),
        Reply::Problem(503, "ledger_unwritable", "the disk is full"),
    ];
    let fake = Fake::new(refusals);
    let deleted = fake.run(&["revoke", "--delete", "7"]);
    assert_eq!(deleted.code, Some(1), "{deleted:?}");
    let made = fake.run(&["revoke", "ann"]);
    assert!(made.code == Some(1) && made.stderr.contains("the disk is full"), "{made:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_is_told_and_lists_what_is_in_force() {
    let daemon = Daemon::start(PROGRAM, &[]).await;
    let made = told(&daemon, &["revoke", "ann", "--issued-before", "now", "--for", "24h"]).await;
    assert!(made.starts_with("revocation 1: subject ann, issued before "), "{made}");
    assert!(made.ends_with("; no connection was open\n"), "{made}");
    told(&daemon, &["revoke", "--jti", "t1"]).await;
    let listed = told(&daemon, &["revocations"]).await;
    let rows: Vec<&str> = listed.lines().collect();
    assert_eq!(rows.len(), 3, "{listed}");
    assert!(rows[1].contains("t1") && rows[2].contains("ann"), "{listed}");
    let page = told(&daemon, &["revocations", "--subject", "ann", "--json"]).await;
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["revocations"][0]["by"], "api:local");
    told(&daemon, &["revoke", "--delete", "1"]).await;
    told(&daemon, &["revoke", "--delete", "2"]).await;
    assert_eq!(told(&daemon, &["revocations"]).await, "");
}
