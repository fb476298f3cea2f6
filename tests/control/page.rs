//! What the page `GET /ui/` needs: its files without a token, who asks, and counts over time.

use std::time::{Duration, Instant};

use lastword::ledger::InMemory;
use lastword::vocabulary::Role;
use lastword::{Adopt, Backend};
use serde_json::json;

use super::stage::{House, settings, tokens};

async fn with_tokens(lines: &str) -> House {
    House::with(InMemory::default(), |control| control.tokens = tokens(lines)).await
}

#[tokio::test]
async fn its_files_need_no_token_and_the_data_does() {
    let house = with_tokens("ops:0123456789abcdef").await;
    let page = house.client.get("/ui/").await;
    assert_eq!(page.status, 200, "{page:?}");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.body.starts_with("<!doctype html>"), "{page:?}");
    for (name, content_type) in [
        ("main.js", "text/javascript; charset=utf-8"),
        ("style.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ] {
        let file = house.client.get(&format!("/ui/{name}")).await;
        assert_eq!((file.status, file.header("content-type")), (200, Some(content_type)));
        let policy = file.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cache-control", "no-cache"),
        ] {
            assert_eq!(file.header(name), Some(value));
        }
        let tag = file.header("etag").unwrap();
        let again = house.client.with(&format!("If-None-Match: {tag}"));
        let again = again.get(&format!("/ui/{name}")).await;
        assert_eq!((again.status, &*again.body), (304, ""), "{again:?}");
    }
    let moved = house.client.get("/ui").await;
    assert_eq!((moved.status, moved.header("location")), (308, Some("/ui/")));
    house.client.get("/ui/../v1/status").await.refused(404, "not_found");
    house.client.get("/ui/nothing.js").await.refused(404, "not_found");
    house.client.post("/ui/", "{}").await.refused(401, "unauthorized");
    house.client.get("/v1/status").await.refused(401, "unauthorized");
    let client = house.client.with("Authorization: Bearer 0123456789abcdef");
    client.post("/ui/", "{}").await.refused(405, "method_not_allowed");
}

#[tokio::test]
async fn its_files_are_for_listed_hosts_only() {
    let house = House::new().await;
    let client = house.client.with("Host: evil.example");
    for target in ["/ui", "/ui/", "/ui/main.js"] {
        client.get(target).await.refused(421, "unlisted_host");
    }
}

#[tokio::test]
async fn the_status_says_who_asks_and_what_they_may_do() {
    let house = House::new().await;
    let caller = |status: serde_json::Value| status["caller"].clone();
    let local = caller(house.client.get("/v1/status").await.expect(200));
    assert_eq!(local, json!({ "name": null, "scope": "operate", "may_dial": false }));
    let house = with_tokens("dash:read:0123456789abcdef\nops:fedcba9876543210").await;
    let ask = async |secret: &str| {
        let client = house.client.with(&format!("Authorization: Bearer {secret}"));
        client.get("/v1/status").await.expect(200)
    };
    let reader = caller(ask("0123456789abcdef").await);
    assert_eq!(reader, json!({ "name": "dash", "scope": "read", "may_dial": false }));
    let status = ask("fedcba9876543210").await;
    assert_eq!(status["caller"]["scope"], "operate");
    assert_eq!(status["messages"], json!({ "in": 0, "out": 0 }));
    assert!(status["memory"]["limit"].as_u64().unwrap() > 0, "{status}");
}

#[tokio::test]
async fn endings_are_counted_over_time() {
    let house = House::new().await;
    for _ in 0..3 {
        house.ended().await;
    }
    let ask = async |query: &str| house.client.get(&format!("/v1/endings/summary?{query}")).await;
    let counted = ask("by=fault&since=1h&slots=12").await.expect(200);
    let over_time = &counted["over_time"];
    assert_eq!((&counted["total"], &over_time["step_ms"]), (&json!(3), &json!(300_001)));
    let value = &over_time["values"][0];
    assert_eq!(value["value"], counted["counts"][0]["value"]);
    let counts = value["counts"].as_array().unwrap();
    assert_eq!((counts.len(), &counts[11]), (12, &json!(3)), "{counted}");
    assert_eq!(ask("by=fault&since=1h").await.expect(200)["over_time"], json!(null));
    for (query, named) in [
        ("slots=12", "since"),
        ("since=1h&slots=0", "from 1 to 500"),
        ("since=1h&slots=501", "from 1 to 500"),
        ("since=1h&slots=5&by=user_agent", "user_agent"),
        ("since=1h&until=1h&slots=5", "empty"),
        ("since=2999-01-01T00:00:00Z&slots=5", "empty"),
    ] {
        let problem = ask(query).await.refused(400, "invalid_request");
        assert!(problem["detail"].as_str().unwrap().contains(named), "{query}: {problem}");
    }
}

/// Measures what the page asks for with 100,000 connections, which take no descriptors here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: run it alone, with --nocapture"]
async fn measure_a_hundred_thousand_connections() {
    const CONNECTIONS: usize = 100_000;
    let house = House::new().await;
    let mut peers = Vec::new();
    for _ in 0..CONNECTIONS {
        let (ours, theirs) = tokio::io::duplex(64);
        let adopt = Adopt { settings: settings(), ..Adopt::new(Role::Server, ours) };
        house.supervisor.adopt(adopt, Backend::echo()).await.unwrap();
        peers.push(theirs);
    }
    for target in [
        "/v1/status",
        "/v1/connections?limit=100",
        "/v1/connections?limit=100&sort=-messages_in",
        "/v1/connections?limit=100&search=nothing",
    ] {
        let began = Instant::now();
        house.client.get(target).await.expect(200);
        println!("{target}: {:?}", began.elapsed());
    }
    // Time to look at the page in a browser.
    if let Ok(seconds) = std::env::var("LASTWORD_TEST_HOLD") {
        println!("http://{}/ui/", house.control);
        tokio::time::sleep(Duration::from_secs(seconds.parse().unwrap())).await;
    }
}
