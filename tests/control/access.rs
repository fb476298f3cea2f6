//! Who is let in: hosts, sites, tokens, sockets.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use lastword::ledger::InMemory;
use lastword::surfaces::control::{TokenStore, Tokens};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::Client;
use super::stage::{House, tokens};
use crate::support::SOON;

#[tokio::test]
async fn a_request_for_another_host_is_misdirected() {
    let house = House::with(InMemory::default(), |control| {
        control
            .settings
            .change(|live| live.control.hosts = vec!["lastword.internal".parse().unwrap()]);
    })
    .await;
    for host in [
        "localhost",
        "LOCALHOST:1234",
        "127.0.0.1",
        "127.0.0.1:8081",
        "[::1]",
        "[::1]:8081",
        "lastword.internal",
        "Lastword.Internal:8081",
    ] {
        house.client.with(&format!("Host: {host}")).get("/v1/status").await.expect(200);
    }
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:8081",
        "10.0.0.1",
        "",
        "x y",
    ] {
        let client = house.client.with(&format!("Host: {host}"));
        client.get("/v1/status").await.refused(421, "unlisted_host");
        client.post("/v1/broadcast", r#"{"text":"x"}"#).await.refused(421, "unlisted_host");
    }
    let answer = house.client.with("Host: localhost\r\nHost: localhost").get("/livez").await;
    answer.refused(400, "invalid_request");
    let none = house.client.exchange("GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    none.refused(400, "invalid_request");
    // The target's own host counts, whatever the header says.
    let absolute =
        "GET http://evil.example/livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    house.client.exchange(absolute).await.refused(421, "unlisted_host");
}

#[tokio::test]
async fn who_listens_everywhere_is_reached_by_the_address_that_answers() {
    let tokens = tokens("ops:0123456789abcdef");
    let house =
        House::at("0.0.0.0:0", InMemory::default(), |control| control.tokens = tokens).await;
    let address = ("127.0.0.3".parse::<std::net::IpAddr>().unwrap(), house.control.port());
    let client = Client::new(std::net::SocketAddr::from(address));
    let client = client.with("Authorization: Bearer 0123456789abcdef");
    assert_eq!(client.with("Host: 127.0.0.3:8081").get("/livez").await.status, 200);
    assert_eq!(client.with("Host: 127.0.0.3").get("/livez").await.status, 200);
    client.with("Host: 127.0.0.4").get("/livez").await.refused(421, "unlisted_host");
}

#[tokio::test]
async fn another_site_changes_nothing() {
    let house = House::new().await;
    let (mut peer, id) = house.peer("/echo").await;
    let target = format!("/v1/connections/{id}");
    for header in [
        "Origin: https://evil.example",
        "Origin: null",
        "Origin: http://localhost.evil.example",
        "Origin: localhost",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
        "Origin: http://localhost\r\nOrigin: http://evil.example",
    ] {
        let client = house.client.with(header);
        client.delete(&target).await.refused(403, "cross_site");
        client.post(&format!("{target}/close"), "").await.refused(403, "cross_site");
        client.post("/v1/drain", "{}").await.refused(403, "cross_site");
        // Reading is allowed: a browser does not show the answer to other origins.
        let seen = client.get("/v1/status").await;
        assert_eq!((seen.status, seen.header("access-control-allow-origin")), (200, None));
    }
    peer.text("unharmed").await;
    peer.expect_text("unharmed").await;
    for header in [
        "Origin: http://127.0.0.1:8081\r\nSec-Fetch-Site: same-origin",
        "Origin: http://localhost:3000",
        "Sec-Fetch-Site: none",
    ] {
        house.client.with(header).post("/v1/broadcast", r#"{"text":"x"}"#).await.expect(200);
        peer.expect_text("x").await;
    }
}

#[tokio::test]
async fn a_token_that_may_only_read_changes_nothing() {
    let tokens = tokens("dash:read:0123456789abcdef\nops:operate:fedcba9876543210");
    let house = House::with(InMemory::default(), |control| {
        control.tokens = tokens;
        control.settings.change(|live| live.control.allow_dial = true);
    })
    .await;
    let (mut peer, id) = house.peer("/echo").await;
    let reader = house.client.with("Authorization: Bearer 0123456789abcdef");
    let target = format!("/v1/connections/{id}");
    for seen in ["/v1/status", "/v1/connections", &target, "/v1/endings", "/metrics", "/livez"] {
        assert_eq!(reader.get(seen).await.status, 200, "{seen}");
    }
    let answer = reader.delete(&target).await;
    answer.refused(403, "scope");
    assert!(answer.body.contains("\\\"dash\\\" may only read"), "{}", answer.body);
    // Each call that changes something, from the description, so that none is forgotten.
    let description = reader.get("/openapi.json").await.json();
    let mut calls = 0;
    for (path, operations) in description["paths"].as_object().unwrap() {
        let path = path.replace("{id}", &id).replace("{command}", "pause");
        let path = path.replace("{route}", "echo").replace("{number}", "0").replace("{name}", "a");
        for method in operations.as_object().unwrap().keys() {
            let scopes = &operations[method]["security"][1]["token"];
            if method == "get" {
                assert_eq!(scopes, &serde_json::json!(["read"]), "{path}");
                continue;
            }
            let answer = match method.as_str() {
                "post" => reader.post(&path, "{}").await,
                "delete" => reader.delete(&path).await,
                other => panic!("{other} {path}: try it here, too"),
            };
            answer.refused(403, "scope");
            assert_eq!(scopes, &serde_json::json!(["operate"]), "{path}");
            calls += 1;
        }
    }
    assert!(calls >= 9, "{calls}");
    peer.text("unharmed").await;
    peer.expect_text("unharmed").await;
    let operator = house.client.with("Authorization: Bearer fedcba9876543210");
    assert_eq!(operator.delete(&target).await.expect(200)["by"], "api:ops");
}

#[tokio::test]
async fn a_stream_of_events_ends_when_its_token_is_withdrawn() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens");
    std::fs::write(&path, "old:0123456789abcdef\nops:fedcba9876543210").unwrap();
    let store = TokenStore::new(Tokens::read(&path).unwrap());
    let tokens = store.clone();
    let house = House::with(InMemory::default(), |control| control.tokens = tokens).await;
    let client = |secret: &str| house.client.with(&format!("Authorization: Bearer {secret}"));
    let mut old = client("0123456789abcdef").follow("?types=opened").await;
    let mut ops = client("fedcba9876543210").follow("?types=opened").await;
    // One that may not be used changes nothing.
    std::fs::write(&path, "new:short").unwrap();
    assert!(store.reload().is_err());
    let (_peer, id) = house.peer("/echo").await;
    for stream in [&mut old, &mut ops] {
        assert_eq!(stream.next().await.unwrap().data["connection"]["id"], *id);
    }
    std::fs::write(&path, "new:0000000000000000\nops:read:fedcba9876543210").unwrap();
    store.reload().unwrap();
    assert_eq!(old.next_block().await.unwrap().rest, ": closed, because the token was withdrawn");
    assert_eq!(old.next().await, None);
    client("0123456789abcdef").get("/v1/status").await.refused(401, "unauthorized");
    client("0000000000000000").get("/v1/status").await.expect(200);
    let (_other, id) = house.peer("/echo").await;
    assert_eq!(ops.next().await.unwrap().data["connection"]["id"], *id);
    let refused = client("fedcba9876543210").delete(&format!("/v1/connections/{id}")).await;
    refused.refused(403, "scope");
}

#[tokio::test]
async fn with_tokens_every_request_needs_one_and_the_record_names_it() {
    let tokens = tokens("ops:0123456789abcdef\nfedcba9876543210\n");
    let house = House::with(InMemory::default(), |control| control.tokens = tokens).await;
    for target in ["/v1/status", "/livez", "/readyz", "/metrics", "/openapi.json", "/nowhere"] {
        let answer = house.client.get(target).await;
        answer.refused(401, "unauthorized");
        assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"), "{answer:?}");
    }
    for wrong in [
        "Bearer 0123456789abcdeX",
        "Bearer 0123456789abcde",
        "Bearer",
        "Bearer ",
        "Basic 0123456789abcdef",
        "0123456789abcdef",
        "Bearer ops:0123456789abcdef",
        "Bearer 0123456789abcdef\r\nAuthorization: Bearer 0123456789abcdef",
    ] {
        let client = house.client.with(&format!("Authorization: {wrong}"));
        client.get("/v1/status").await.refused(401, "unauthorized");
    }
    let (_peer, ops) = house.peer("/echo").await;
    let (_other, default) = house.peer("/echo").await;
    for (secret, id, by) in
        [("0123456789abcdef", ops, "api:ops"), ("fedcba9876543210", default, "api:default")]
    {
        let client = house.client.with(&format!("Authorization: bearer {secret}"));
        assert_eq!(client.get("/livez").await.status, 200);
        let ending = client.delete(&format!("/v1/connections/{id}")).await.expect(200);
        assert_eq!(ending["by"], by);
    }
}

#[tokio::test]
async fn a_unix_socket_is_for_owner_and_group_and_takes_any_host() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let address = format!("unix:{}", path.display());
    let house = House::at(&address, InMemory::default(), |_| {}).await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    for host in ["localhost", "whatever.example", "x"] {
        house.client.with(&format!("Host: {host}")).get("/v1/status").await.expect(200);
    }
    let (_peer, id) = house.peer("/echo").await;
    let foreign = house.client.with("Origin: https://evil.example");
    foreign.delete(&format!("/v1/connections/{id}")).await.refused(403, "cross_site");
    house.client.delete(&format!("/v1/connections/{id}")).await.expect(200);
}

#[tokio::test]
async fn a_stuck_client_hinders_no_other_for_long() {
    let house = House::with(InMemory::default(), |control| {
        control.settings.change(|live| live.control.max_connections = 4);
        control.settings.change(|live| live.control.header_timeout = Duration::from_millis(300));
    })
    .await;
    let mut stuck = Vec::new();
    for _ in 0..8 {
        let mut stream = house.client.open().await;
        stream.write_all(b"GET /v1/status HTTP/1.1\r\n").await.unwrap();
        stuck.push(stream);
    }
    let asked = tokio::time::timeout(SOON, house.client.get("/v1/status")).await;
    asked.expect("awaited an answer behind those that are stuck").expect(200);
    // A connection that serves one request after the other is not stuck.
    let mut stream = house.client.open().await;
    for _ in 0..3 {
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nok") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
        }
    }
}
