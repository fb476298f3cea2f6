//! An HTTP endpoint that is asked about each client.

use std::time::{Duration, SystemTime};

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::stage::{PROGRAM, Reply, Server, call, eventually, route};
use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::http::{exchange, upgrade_request};
use crate::support::raw_peer::RawPeer;

fn auth(server: &Server, path: &str, more: &str) -> String {
    route(&format!("{{ kind = 'http', url = 'http://{}{path}'{more} }}", server.address), "")
}

#[tokio::test]
async fn the_endpoint_sees_the_client_and_says_who_it_is() {
    let answer = json!({
        "subject": "ann", "tags": { "plan": "gold" }, "expires_at": "2999-01-01T00:00:00Z",
        "limits": { "max_message_size": "4B" }, "roles": ["admin"],
    });
    let server = Server::start(Reply::json(&answer.to_string())).await;
    let daemon = Daemon::start(PROGRAM, &[&auth(&server, "/auth", "")]).await;
    let headers = "Cookie: a=b\r\nAuthorization: Bearer x\r\nX-Original-URI: /admin\r\n\
                   X-Forwarded-For: 6.6.6.6\r\nX-Other: y\r\n";
    let mut peer = RawPeer::connect_with(daemon.listener(), "/rooms/7?q=1", headers, &[]).await;
    peer.text("four").await;
    peer.expect_text("four").await;
    let request = server.requests().remove(0).to_lowercase();
    assert!(request.starts_with("get /auth http/1.1\r\n"), "{request}");
    for line in [
        "cookie: a=b",
        "authorization: bearer x",
        "x-original-uri: /rooms/7?q=1",
        "x-original-method: get",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: ",
    ] {
        assert!(request.contains(&format!("\r\n{line}")), "{line} in {request}");
    }
    for line in ["6.6.6.6", "/admin", "x-other", "upgrade", "sec-websocket"] {
        assert!(!request.contains(line), "{line} in {request}");
    }
    let (_, open) = call(&daemon, "GET", "/v1/connections", "").await;
    let open = &open["connections"][0];
    assert_eq!((&open["subject"], &open["tags"]["plan"]), (&json!("ann"), &json!("gold")));
    assert_eq!(open["expires_at"], "2999-01-01T00:00:00.000Z");
    peer.text("fives").await;
    assert_eq!(peer.expect_close(SOON).await.0, Some(1009));
}

#[tokio::test]
async fn a_connection_ends_when_the_endpoint_said() {
    // An offset, as many libraries write one.
    let due = SystemTime::now() + Duration::from_secs(2);
    let ahead = humantime::format_rfc3339_millis(due + Duration::from_secs(2 * 3600)).to_string();
    let expires_at = ahead.replace('Z', "+02:00");
    let answer = json!({ "subject": "ann", "expires_at": expires_at }).to_string();
    let server = Server::start(Reply::json(&answer)).await;
    let daemon = Daemon::start(PROGRAM, &[&auth(&server, "/auth", "")]).await;
    let mut peer = RawPeer::connect(daemon.listener(), "/").await;
    peer.text("hello").await;
    peer.expect_text("hello").await;
    let (code, _) = peer.expect_close(SOON).await;
    let late = SystemTime::now() + Duration::from_millis(1);
    let late = late.duration_since(due).expect("it closed early");
    assert!(late < Duration::from_secs(1), "{late:?}");
    assert_eq!(code, Some(3000));
    peer.close(3000, "").await;
    let ending = daemon.await_ending(|_| true, SOON).await;
    assert_eq!((&ending["cause"], &ending["subject"]), (&json!("auth_expired"), &json!("ann")));
}

#[tokio::test]
async fn an_expiry_that_has_passed_or_cannot_be_read_admits_nobody() {
    let server = Server::start(Reply::status(204, "")).await;
    let daemon = Daemon::start(PROGRAM, &[&auth(&server, "/auth", "")]).await;
    for expires_at in [json!("2001-01-01T00:00:00+02:00"), json!("soon"), json!(4_000_000_000_u64)]
    {
        server.set(Reply::json(&json!({ "expires_at": expires_at }).to_string()));
        let refused = exchange(daemon.listener(), upgrade_request("a", "/", ""), SOON).await;
        assert_eq!(refused.head.status(), 503, "{expires_at}");
    }
    let unavailable = |ending: &serde_json::Value| ending["open_failure"] == "auth_unavailable";
    daemon.await_endings(3, unavailable, SOON).await;
}

#[tokio::test]
async fn an_admission_that_is_slower_than_the_opening_handshake_may_be_is_given_up() {
    let server = Server::start(Reply::Silence).await;
    let address = server.address;
    for auth in [
        format!("{{ kind = 'http', url = 'http://{address}/auth', timeout = '30s' }}"),
        format!("{{ kind = 'jwt', jwks_url = 'http://{address}/keys', jwks_timeout = '30s' }}"),
    ] {
        let limit = "limits.handshake_timeout='500ms'";
        let daemon = Daemon::start(PROGRAM, &[&route(&auth, ""), limit]).await;
        let token = super::stage::Issuer::new().token(json!({}));
        let bearer = format!("Authorization: Bearer {token}\r\n");
        let began = std::time::Instant::now();
        let refused = exchange(daemon.listener(), upgrade_request("a", "/", &bearer), SOON).await;
        assert_eq!(refused.head.status(), 503, "{auth}");
        assert!(refused.head.header("retry-after").is_some(), "{auth}");
        assert!(began.elapsed() >= Duration::from_millis(400), "it did not wait");
        let ending = daemon.await_ending(|_| true, SOON).await;
        assert_eq!(ending["open_failure"], "auth_unavailable", "{ending}");
        assert!(ending["detail"].as_str().unwrap().contains("500ms"), "{ending}");
    }
}

#[tokio::test]
async fn an_endpoint_without_a_path_is_asked_for_the_clients() {
    let server = Server::start(Reply::status(204, "")).await;
    let daemon = Daemon::start(PROGRAM, &[&auth(&server, "", ", pass_headers = []")]).await;
    for n in 0..5 {
        let cookie = "Cookie: secret\r\n";
        let target = format!("/rooms/{n}?q=1");
        drop(RawPeer::connect_with(daemon.listener(), &target, cookie, &[]).await);
        let request = server.requests().remove(n);
        assert!(request.starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{request}");
        assert!(!request.contains("secret"), "{request}");
    }
    assert_eq!(server.connections(), 1, "a connection is kept");
}

#[tokio::test]
async fn a_full_waiting_room_turns_away_and_a_client_that_leaves_frees_its_place() {
    let server = Server::start(Reply::Silence).await;
    let more = ", max_pending = 1, timeout = '30s'";
    let daemon = Daemon::start(PROGRAM, &[&auth(&server, "/auth", more)]).await;
    let mut waiting = TcpStream::connect(daemon.listener()).await.unwrap();
    waiting.write_all(upgrade_request("a", "/", "").as_bytes()).await.unwrap();
    eventually("a question", || server.requests().len() == 1).await;
    let refused = exchange(daemon.listener(), upgrade_request("a", "/", ""), SOON).await;
    assert_eq!(refused.head.status(), 503);
    let full = |ending: &serde_json::Value| ending["open_failure"] == "auth_unavailable";
    let ending = daemon.await_ending(full, SOON).await;
    assert!(ending["detail"].as_str().unwrap().contains("auth.max_pending is 1"), "{ending}");
    drop(waiting);
    daemon.await_ending(|ending| ending["open_failure"] == "peer_gone", SOON).await;
    server.set(Reply::status(200, ""));
    let mut peer = RawPeer::connect(daemon.listener(), "/").await;
    peer.text("hello").await;
    peer.expect_text("hello").await;
}
