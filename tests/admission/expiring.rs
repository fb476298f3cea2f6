//! A connection ends when its token expires, and lives longer with a new one.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::stage::{KeyFolder, PLANTED, PROGRAM, Reply, Server, call, in_seconds, route};
use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::raw_peer::RawPeer;

async fn open(daemon: &Daemon, token: &str) -> (RawPeer, String) {
    let header = format!("Authorization: Bearer {token}\r\n");
    let mut peer = RawPeer::connect_with(daemon.listener(), "/", &header, &[]).await;
    // The 101 comes before the connection is in the list.
    peer.text("hello").await;
    peer.expect_text("hello").await;
    let (_, open) = call(daemon, "GET", "/v1/connections", "").await;
    (peer, open["connections"][0]["id"].as_str().unwrap().to_owned())
}

async fn renew(daemon: &Daemon, id: &str, token: &str) -> (u16, Value) {
    let body = json!({ "token": token }).to_string();
    call(daemon, "POST", &format!("/v1/connections/{id}/token"), &body).await
}

#[tokio::test]
async fn a_connection_ends_within_a_second_of_its_token_and_never_before() {
    let keys = KeyFolder::new();
    let daemon = Daemon::start(PROGRAM, &[&keys.route(", leeway = '1s'")]).await;
    let exp = in_seconds(2);
    let (mut peer, _) = open(&daemon, &keys.issuer.token(json!({ "exp": exp }))).await;
    let (code, reason) = peer.expect_close(SOON).await;
    let due = SystemTime::UNIX_EPOCH + Duration::from_secs(exp + 1);
    let late = SystemTime::now().duration_since(due).expect("it closed early");
    assert!(late < Duration::from_secs(1), "{late:?}");
    assert_eq!((code, reason.as_str()), (Some(3000), "token expired"));
    peer.close(3000, "").await;
    drop(peer);
    let ending = daemon.await_ending(|_| true, SOON).await;
    assert_eq!((&ending["kind"], &ending["cause"]), (&json!("clean"), &json!("auth_expired")));
    assert_eq!(ending["retry"], "reauthenticate");
}

#[tokio::test]
async fn a_new_token_of_the_same_subject_moves_the_expiry_and_any_other_changes_nothing() {
    let keys = KeyFolder::new();
    let daemon = Daemon::start(PROGRAM, &[&keys.route(", leeway = '0s'")]).await;
    let (mut peer, id) = open(&daemon, &keys.issuer.token(json!({ "exp": in_seconds(3) }))).await;
    let shown = async || call(&daemon, "GET", &format!("/v1/connections/{id}"), "").await.1;
    let before = shown().await["expires_at"].clone();
    for (token, sentence) in [
        (keys.issuer.token(json!({ "sub": "eve" })), "another subject"),
        (keys.issuer.token(json!({ "exp": in_seconds(-1) })), "has expired"),
        (super::stage::Issuer::new().token(json!({})), "signature"),
        (PLANTED.to_owned(), "no signed JWT"),
    ] {
        let (status, problem) = renew(&daemon, &id, &token).await;
        assert_eq!((status, &problem["type"]), (401, &json!("urn:lastword:token_refused")));
        assert!(problem["detail"].as_str().unwrap().contains(sentence), "{problem}");
        assert!(!problem.to_string().contains(PLANTED), "{problem}");
    }
    assert_eq!(shown().await["expires_at"], before);
    let (status, renewed) = renew(&daemon, &id, &keys.issuer.token(json!({}))).await;
    assert_eq!(status, 200, "{renewed}");
    assert_ne!(renewed["expires_at"], before);
    tokio::time::sleep(Duration::from_millis(3500)).await;
    peer.text("still here").await;
    peer.expect_text("still here").await;
    // It can be moved to an earlier time as well.
    let soon = keys.issuer.token(json!({ "exp": in_seconds(1) }));
    assert_eq!(renew(&daemon, &id, &soon).await.0, 200);
    assert_eq!(peer.expect_close(SOON).await.0, Some(3000));
    let (status, problem) = renew(&daemon, &id, &keys.issuer.token(json!({}))).await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:lastword:invalid_state")));
}

#[tokio::test]
async fn only_a_connection_that_was_admitted_by_a_token_takes_one() {
    let endpoint = Server::start(Reply::status(200, "")).await;
    let auth = format!("{{ kind = 'http', url = 'http://{}/auth' }}", endpoint.address);
    let daemon = Daemon::start(PROGRAM, &[&route(&auth, "")]).await;
    let (_peer, id) = open(&daemon, "x").await;
    let (status, problem) = renew(&daemon, &id, "x").await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:lastword:no_token")));
    let (status, _) = renew(&daemon, "000000000000", "x").await;
    assert_eq!(status, 404);
    let (status, _) = call(&daemon, "POST", &format!("/v1/connections/{id}/token"), "{}").await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn a_revoked_subject_is_not_let_in_again_by_a_new_token() {
    let keys = KeyFolder::new();
    let daemon = Daemon::start(PROGRAM, &[&keys.route("")]).await;
    let issued = |jti: &str| keys.issuer.token(json!({ "jti": jti, "iat": in_seconds(-1) }));
    let (mut peer, id) = open(&daemon, &issued("one")).await;
    assert_eq!(call(&daemon, "POST", "/v1/revocations", r#"{"jti": "two"}"#).await.0, 201);
    let (status, problem) = renew(&daemon, &id, &issued("two")).await;
    assert_eq!(status, 401, "{problem}");
    assert_eq!(renew(&daemon, &id, &issued("three")).await.0, 200);
    // What the connection was let in with last is what is revoked.
    assert_eq!(call(&daemon, "POST", "/v1/revocations", r#"{"jti": "three"}"#).await.0, 201);
    let (code, reason) = peer.expect_close(SOON).await;
    assert_eq!((code, reason.as_str()), (Some(3000), "access revoked"));
}
