//! Tokens that are revoked: by subject and time of issue, or one by one.

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::stage::{KeyFolder, PROGRAM, call, in_seconds};
use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::http::{Answer, exchange, upgrade_request};
use crate::support::raw_peer::RawPeer;

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// A client with this token that is open.
async fn open(daemon: &Daemon, token: &str) -> RawPeer {
    let mut peer = RawPeer::connect_with(daemon.listener(), "/", &bearer(token), &[]).await;
    assert_stays(&mut peer).await;
    peer
}

async fn assert_stays(peer: &mut RawPeer) {
    peer.text("still here").await;
    peer.expect_text("still here").await;
}

async fn assert_closed(peer: &mut RawPeer) {
    assert_eq!(peer.expect_close(SOON).await, (Some(3000), "access revoked".to_owned()));
    peer.close(3000, "").await;
}

async fn refused(daemon: &Daemon, token: &str) -> Answer {
    let request = upgrade_request("a", "/", &bearer(token));
    let refused = exchange(daemon.listener(), request, SOON).await;
    assert_eq!((refused.head.status(), refused.body.as_str()), (401, "access revoked\n"));
    refused
}

async fn revoke(daemon: &Daemon, body: Value) -> Value {
    let (status, made) = call(daemon, "POST", "/v1/revocations", &body.to_string()).await;
    assert_eq!(status, 201, "{made}");
    made
}

#[tokio::test]
async fn one_token_is_closed_and_refused_and_the_others_of_its_subject_stay() {
    let keys = KeyFolder::new();
    let daemon = Daemon::start(PROGRAM, &[&keys.route("")]).await;
    let token = |jti: &str| keys.issuer.token(json!({ "jti": jti }));
    let (one, two) = (token("one"), token("two"));
    let (mut first, mut again) = (open(&daemon, &one).await, open(&daemon, &one).await);
    let mut other = open(&daemon, &two).await;
    let made = revoke(&daemon, json!({ "jti": "one" })).await;
    assert_eq!(made["closed"], 2);
    assert_closed(&mut first).await;
    assert_closed(&mut again).await;
    assert_stays(&mut other).await;
    let answer = refused(&daemon, &one).await;
    let challenge = answer.head.header("www-authenticate").unwrap();
    assert!(challenge.starts_with("Bearer") && challenge.contains("invalid_token"), "{challenge}");
    open(&daemon, &two).await;
    let attempt = daemon.await_ending(|ending| ending["kind"] == "open_failed", SOON).await;
    assert_eq!((&attempt["subject"], &attempt["route"]), (&json!("ann"), &json!("a")));
    let detail = attempt["detail"].as_str().unwrap();
    assert!(detail.contains("the token is revoked (revocation 1)"), "{detail}");
    let scraped = daemon.metrics().await;
    for line in [
        "lastword_revocations 1",
        "lastword_revoked_connections_total 2",
        "lastword_revoked_attempts_total 1",
    ] {
        assert!(scraped.lines().any(|found| found == line), "{line}: {scraped}");
    }
}

#[tokio::test]
async fn what_was_issued_before_is_revoked_and_a_newer_token_is_not() {
    let keys = KeyFolder::new();
    let daemon = Daemon::start(PROGRAM, &[&keys.route("")]).await;
    let issued = |iat: u64| keys.issuer.token(json!({ "iat": iat }));
    let (old, new) = (issued(in_seconds(-100)), issued(in_seconds(-10)));
    let undated = keys.issuer.token(json!({}));
    // Opened late with an old token: that is what counts.
    let mut with_old = open(&daemon, &old).await;
    let mut with_new = open(&daemon, &new).await;
    let mut with_undated = open(&daemon, &undated).await;
    let made = revoke(&daemon, json!({ "subject": "ann", "issued_before": "50s" })).await;
    assert_eq!(made["closed"], 2);
    assert_closed(&mut with_old).await;
    assert_closed(&mut with_undated).await;
    assert_stays(&mut with_new).await;
    refused(&daemon, &old).await;
    refused(&daemon, &undated).await;
    open(&daemon, &new).await;
    open(&daemon, &keys.issuer.token(json!({ "sub": "bob", "iat": in_seconds(-100) }))).await;
}

#[tokio::test]
async fn an_open_connection_is_not_renewed_with_a_revoked_token() {
    let keys = KeyFolder::new();
    let daemon = Daemon::start(PROGRAM, &[&keys.route("")]).await;
    let token = |jti: &str| keys.issuer.token(json!({ "jti": jti, "exp": in_seconds(90) }));
    let mut peer = open(&daemon, &token("one")).await;
    let (_, page) = call(&daemon, "GET", "/v1/connections", "").await;
    let id = page["connections"][0]["id"].as_str().unwrap();
    let renew = async |token: String| {
        let body = json!({ "token": token }).to_string();
        call(&daemon, "POST", &format!("/v1/connections/{id}/token"), &body).await
    };
    revoke(&daemon, json!({ "jti": "two" })).await;
    let (status, problem) = renew(token("two")).await;
    assert_eq!((status, &problem["type"]), (401, &json!("urn:lastword:token_refused")));
    assert_stays(&mut peer).await;
    // With the token that it has now it is found, and no longer with the one before.
    assert_eq!(renew(token("three")).await.0, 200);
    assert_eq!(revoke(&daemon, json!({ "jti": "one" })).await["closed"], 0);
    assert_eq!(revoke(&daemon, json!({ "jti": "three" })).await["closed"], 1);
    assert_closed(&mut peer).await;
}

#[tokio::test]
async fn a_revoked_newcomer_replaces_none() {
    let keys = KeyFolder::new();
    let route = keys.route("").replace("name = 'a'", "name = 'a', replace = 'oldest'");
    let daemon = Daemon::start(PROGRAM, &[&route]).await;
    let token = |jti: &str| keys.issuer.token(json!({ "jti": jti }));
    let mut first = open(&daemon, &token("one")).await;
    revoke(&daemon, json!({ "jti": "two" })).await;
    refused(&daemon, &token("two")).await;
    assert_stays(&mut first).await;
    open(&daemon, &token("three")).await;
    assert_eq!(first.expect_close(SOON).await, (Some(4409), "replaced".to_owned()));
}

#[tokio::test]
async fn plain_http_with_a_revoked_token_is_refused() {
    let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = application.local_addr().unwrap();
    let keys = KeyFolder::new();
    let relay = format!("kind = 'relay', url = 'ws://{url}', http = 'proxy'");
    let route = keys.route("").replace("kind = 'echo'", &relay);
    let daemon = Daemon::start(PROGRAM, &[&route]).await;
    revoke(&daemon, json!({ "subject": "ann" })).await;
    let token = bearer(&keys.issuer.token(json!({})));
    let request = format!("GET /page HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{token}\r\n");
    let refused = exchange(daemon.listener(), request, SOON).await;
    assert_eq!(refused.head.status(), 401, "{refused:?}");
    assert!(refused.head.header("www-authenticate").unwrap().contains("invalid_token"));
    assert!(refused.body.contains("access revoked"), "{refused:?}");
}
