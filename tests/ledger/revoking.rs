//! Revocations outlive the daemon.

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::ledger_file::LedgerFile;
use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::http::{exchange, upgrade_request};
use crate::support::raw_peer::RawPeer;

/// What an application answers with that knows its client.
const ANN: &str = "Lastword-Subject: ann\r\n";

/// Makes a request to the control API; returns the JSON of its answer.
async fn ask(daemon: &Daemon, line: &str, body: &str) -> Value {
    let request = format!(
        "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(daemon.control(), request, SOON).await;
    assert!((200..300).contains(&answer.head.status()), "{line}: {answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

/// A client of ann's, and her connection to the application.
async fn ann(daemon: &Daemon, application: &TcpListener) -> (RawPeer, RawPeer) {
    let asked = RawPeer::accept_with(application, ANN, &[]);
    let (app, client) = tokio::join!(asked, RawPeer::connect(daemon.listener(), "/chat"));
    (client, app)
}

/// Asserts that ann is refused, after the application has said who she is.
async fn assert_refused(daemon: &Daemon, application: &TcpListener) {
    let asked = RawPeer::accept_with(application, ANN, &[]);
    let request = upgrade_request("localhost", "/chat", "");
    let (mut app, refused) = tokio::join!(asked, exchange(daemon.listener(), request, SOON));
    assert_eq!(refused.head.status(), 401, "{refused:?}");
    assert!(refused.head.header("www-authenticate").unwrap().starts_with("Bearer"), "{refused:?}");
    assert_eq!(refused.body, "access revoked\n");
    assert_eq!(app.expect_close(SOON).await, (Some(1001), "access revoked".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_revoked_stays_revoked_when_the_daemon_is_killed() {
    let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = application.local_addr().unwrap();
    let route = format!(
        "routes=[{{ name = 'chat', path = '/chat', \
         backend = {{ kind = 'relay', url = 'ws://{url}' }} }}]"
    );
    let ledger = LedgerFile::new();
    let mut daemon = ledger.daemon(&[&route]).await;
    let (mut client, mut app) = ann(&daemon, &application).await;
    let body = r#"{"subject":"ann","expires_at":"2100-01-01T00:00:00Z"}"#;
    let made = ask(&daemon, "POST /v1/revocations", body).await;
    // Its answer promises that it is durable: the daemon dies before anything else happens.
    daemon.signal("KILL").await;
    daemon.await_exit(SOON).await;
    assert_eq!(made["number"], 1);
    drop((client.read_to_end(SOON).await, app.read_to_end(SOON).await));
    assert_eq!(ledger.number("SELECT count(*) FROM revocations WHERE subject = 'ann'"), 1);

    let mut daemon = ledger.daemon(&[&route]).await;
    assert_refused(&daemon, &application).await;
    let refused =
        daemon.await_ending(|ending| ending["open_failure"] == "unauthorized", SOON).await;
    assert_eq!((&refused["subject"], &refused["fault"]), (&json!("ann"), &json!("peer")));
    assert!(refused["detail"].as_str().unwrap().contains("revoked (revocation 1)"), "{refused}");
    let page = ask(&daemon, "GET /v1/revocations", "").await;
    assert_eq!(page["revocations"][0]["expires_at"], "2100-01-01T00:00:00.000Z");
    let gone = ask(&daemon, "DELETE /v1/revocations/1", "").await;
    assert_eq!(gone["subject"], "ann");
    let (mut client, mut app) = ann(&daemon, &application).await;

    let made = ask(&daemon, "POST /v1/revocations", r#"{"subject":"ann"}"#).await;
    assert_eq!((&made["number"], &made["closed"]), (&json!(2), &json!(1)));
    assert_eq!(client.expect_close(SOON).await, (Some(3000), "access revoked".to_owned()));
    client.close(3000, "").await;
    assert_eq!(app.expect_close(SOON).await.0, Some(3000));
    app.close(3000, "").await;
    let ending = daemon.await_ending(|ending| ending["cause"] == "revoked", SOON).await;
    assert_eq!((&ending["kind"], &ending["fault"]), (&json!("clean"), &json!("operator")));
    assert_eq!(ending["retry"], "reauthenticate");
    let logged = daemon.events("a revocation was made");
    assert_eq!((&logged[0]["subject"], &logged[0]["by"]), (&json!("ann"), &json!("api:local")));

    daemon.signal("TERM").await;
    assert_eq!(daemon.await_exit(2 * SOON).await.code(), Some(0));
    let daemon = ledger.daemon(&[&route]).await;
    assert_refused(&daemon, &application).await;
}
