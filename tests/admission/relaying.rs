//! An application behind a relay sees only those who may connect, and no token among subprotocols.

use serde_json::json;
use tokio::net::TcpListener;

use super::stage::{KeyFolder, PROGRAM, call};
use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::http::{exchange, upgrade_request};
use crate::support::raw_peer::RawPeer;

async fn relayed(keys: &KeyFolder, auth: &str) -> (Daemon, TcpListener) {
    let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", application.local_addr().unwrap());
    let route = keys.route(auth);
    let route = route.replace("kind = 'echo'", &format!("kind = 'relay', url = '{url}'"));
    (Daemon::start(PROGRAM, &[&route]).await, application)
}

#[tokio::test]
async fn a_token_among_the_subprotocols_never_reaches_the_application() {
    let keys = KeyFolder::new();
    let (daemon, application) = relayed(&keys, ", from = ['subprotocol']").await;
    let token = keys.issuer.token(json!({}));
    let offered =
        format!("Sec-WebSocket-Protocol: v1, bearer.{token}\r\nSec-WebSocket-Protocol: v2\r\n");
    let accepting = RawPeer::accept_with(
        &application,
        "Sec-WebSocket-Protocol: v2\r\nLastword-Subject: eve\r\nLastword-Tags: room=7\r\n",
        &[],
    );
    let opening = RawPeer::connect_with(daemon.listener(), "/", &offered, &[]);
    let (mut app, mut client) = tokio::join!(accepting, opening);
    // The 101 comes before the connection is in the list.
    client.text("hello").await;
    app.expect_text("hello").await;
    assert_eq!(client.head.header("sec-websocket-protocol"), Some("v2"));
    let seen: Vec<_> = app.head.headers.iter().map(|(n, v)| format!("{n}: {v}")).collect();
    let seen = seen.join("\n");
    assert!(!seen.contains("bearer") && !seen.contains(&token), "{seen}");
    assert!(seen.contains("v1") && seen.contains("v2"), "{seen}");
    let (_, open) = call(&daemon, "GET", "/v1/connections?direction=inbound", "").await;
    let open = &open["connections"][0];
    assert_eq!((&open["subject"], &open["tags"]["room"]), (&json!("ann"), &json!("7")));
    assert_eq!(open["subprotocol"], "v2");
    client.close(1000, "bye").await;
    drop(app);
    client.expect_close(SOON).await;
}

#[tokio::test]
async fn a_client_that_may_not_connect_is_no_business_of_the_application() {
    let keys = KeyFolder::new();
    let (daemon, application) = relayed(&keys, "").await;
    let answer = exchange(daemon.listener(), upgrade_request("a", "/", ""), SOON).await;
    assert_eq!(answer.head.status(), 401);
    let brief = std::time::Duration::from_millis(200);
    assert!(tokio::time::timeout(brief, application.accept()).await.is_err());
}
