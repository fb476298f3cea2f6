//! Dials that are repeated: dialers made, shown and removed over the API.

use std::time::Duration;

use lastword::DialerOptions;
use lastword::ledger::InMemory;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::stage::House;
use crate::support::SOON;
use crate::support::raw_peer::RawPeer;

async fn house() -> House {
    House::with(InMemory::default(), |control| {
        control.settings.change(|live| live.control.allow_dial = true)
    })
    .await
}

/// A server that waits to be dialled, and its URL.
async fn feed() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/feed?token=hush", listener.local_addr().unwrap());
    (listener, url)
}

#[tokio::test]
async fn a_dialer_of_the_api_takes_steps_and_answers() {
    let house = house().await;
    let (listener, url) = feed().await;
    let mut body = json!({
        "url": url, "name": "ticks", "reconnect": true,
        "on_open": [{"send": "init", "wait_for": "ack"}, "subscribe"],
        "ready_on": "tick", "reply": [{"when": "2", "send": "3"}],
    });
    house.client.post("/v1/connections", &body.to_string()).await.expect(201);
    let mut server = accept(&listener).await;
    server.expect_text("init").await;
    server.text("ack").await;
    server.expect_text("subscribe").await;
    server.text("2").await;
    server.expect_text("3").await;
    until(&house, "ticks", |shown| shown["state"] == "open").await;
    server.text("tick").await;
    until(&house, "ticks", |shown| shown["state"] == "ready").await;
    body["name"] = "more".into();
    for (key, wrong) in [("on_open", json!([{"wait": "ack"}])), ("reply", json!([{"when": "2"}]))] {
        let mut body = body.clone();
        body[key] = wrong;
        house
            .client
            .post("/v1/connections", &body.to_string())
            .await
            .refused(400, "invalid_request");
    }
    body.as_object_mut().unwrap().remove("reconnect");
    body.as_object_mut().unwrap().remove("name");
    let refused = house.client.post("/v1/connections", &body.to_string()).await;
    refused.refused(400, "invalid_request");
}

#[tokio::test]
async fn what_a_dial_receives_may_be_as_large_as_with_a_dialer() {
    let (listener, url) = feed().await;
    // By the library, whose default is the same.
    let supervisor = lastword::Supervisor::builder().start().await.unwrap();
    let (dialled, mut server) =
        tokio::join!(supervisor.dial(&url).receive(), RawPeer::accept(&listener));
    let (_connection, mut messages) = dialled.unwrap();
    let large = "x".repeat(3 << 20);
    let sent = server.text(&large);
    let (received, ()) = tokio::join!(timeout(SOON, messages.receive()), sent);
    let lastword::Incoming::Message(message) = received.unwrap().unwrap() else { panic!() };
    assert_eq!(message.len(), large.len());
}

async fn accept(listener: &TcpListener) -> RawPeer {
    timeout(SOON, RawPeer::accept(listener)).await.expect("awaited a dial in vain")
}

/// Waits until a dialer is as wanted.
async fn until(house: &House, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
    timeout(SOON, async {
        loop {
            let shown = house.client.get(&format!("/v1/dialers/{name}")).await.expect(200);
            if fits(&shown) {
                return shown;
            }
        }
    })
    .await
    .expect("in vain")
}

#[tokio::test]
async fn a_dial_with_reconnect_makes_a_dialer_that_can_be_removed() {
    let house = house().await;
    let (listener, url) = feed().await;
    let body = json!({
        "url": url, "name": "ticks", "reconnect": {"min": "10ms", "stable_after": "0s"},
        "headers": {"X-Who": "me"}, "tags": {"venue": "x"}, "subprotocols": ["v1.feed"],
        "backend": "echo",
    })
    .to_string();
    let answer = house.client.post("/v1/connections", &body).await;
    let made = answer.expect(201);
    assert_eq!(answer.header("location"), Some("/v1/dialers/ticks"));
    assert_eq!((&made["name"], &made["state"]), (&"ticks".into(), &"connecting".into()));
    assert!(made["by"].as_str().unwrap().starts_with("api:"), "{made}");
    assert!(made["url"].as_str().unwrap().ends_with("/feed?token=***"), "{made}");

    let again = house.client.post("/v1/connections", &body).await;
    again.refused(409, "name_taken");
    let listed = house.client.get("/v1/dialers").await.expect(200);
    assert_eq!(listed["dialers"].as_array().unwrap().len(), 1);

    // It comes back.
    let mut server = accept(&listener).await;
    assert_eq!(server.head.header("x-who"), Some("me"));
    assert_eq!(server.head.header("sec-websocket-protocol"), Some("v1.feed"));
    server.reset();
    server = accept(&listener).await;
    server.text("hello").await;
    server.expect_text("hello").await;
    let shown = until(&house, "ticks", |shown| shown["state"] == "ready").await;
    assert_eq!(shown["opened"], 2);
    let id = shown["connection"].as_str().unwrap().to_owned();
    let connection = house.client.get(&format!("/v1/connections/{id}")).await.expect(200);
    assert_eq!(
        (&connection["dialer"], &connection["tags"]["venue"]),
        (&"ticks".into(), &"x".into())
    );

    let removed = house.client.delete("/v1/dialers/ticks").await.expect(202);
    assert_eq!(removed["connection"], *id);
    house.client.get("/v1/dialers/ticks").await.refused(404, "not_found");
    house.client.delete("/v1/dialers/ticks").await.refused(404, "not_found");
    assert_eq!(server.expect_close(SOON).await, (Some(1000), "removed".into()));
    server.close(1000, "removed").await;
    server.fin().await;
    let ending = house.client.post(&format!("/v1/connections/{id}/close"), "").await.expect(200);
    assert_eq!((&ending["kind"], &ending["cause"]), (&"clean".into(), &"api".into()));
    assert_eq!(ending["by"], made["by"]);
    // It does not reconnect, and the name is free.
    assert!(timeout(Duration::from_millis(300), listener.accept()).await.is_err());
    house.client.post("/v1/connections", &body).await.expect(201);
    accept(&listener).await;
}

#[tokio::test]
async fn without_a_name_it_gets_one_and_a_feed_that_is_away_is_no_failure() {
    let house = house().await;
    let (listener, url) = feed().await;
    drop(listener);
    let body = json!({"url": url, "reconnect": true}).to_string();
    let made = house.client.post("/v1/connections", &body).await.expect(201);
    let name = made["name"].as_str().unwrap();
    assert!(name.starts_with("api-") && name.len() == 16, "{name}");
    let shown = until(&house, name, |shown| shown["state"] == "waiting").await;
    assert_eq!(shown["last_ending"]["open_failure"], "connect_refused");
    house.client.delete(&format!("/v1/dialers/{name}")).await.expect(202);
    let listed = house.client.get("/v1/dialers").await.expect(200);
    assert_eq!(listed["dialers"], json!([]));
    let without = json!({"url": url, "reconnect": false}).to_string();
    house.client.post("/v1/connections", &without).await.refused(502, "open_failed");
}

#[tokio::test]
async fn a_dialer_of_the_configuration_stays() {
    let house = house().await;
    let (_listener, url) = feed().await;
    house.supervisor.keep(DialerOptions::new("feed", url)).unwrap();
    let shown = house.client.get("/v1/dialers/feed").await.expect(200);
    assert_eq!(shown["by"], Value::Null);
    let problem = house.client.delete("/v1/dialers/feed").await.refused(409, "invalid_state");
    // The remedy is the product.
    assert!(problem["detail"].as_str().unwrap().contains("/v1/dialers/feed/pause"), "{problem}");
    house.client.get("/v1/dialers/feed").await.expect(200);
}

#[tokio::test]
async fn a_dial_can_be_passed_on_to_an_application() {
    let house = house().await;
    for reconnect in [false, true] {
        let ((feeds, url), (applications, to)) = (feed().await, feed().await);
        let body = json!({
            "url": url, "reconnect": reconnect, "backend": {"kind": "relay", "url": to},
        });
        let dialled = tokio::spawn({
            let client = house.client.clone();
            async move { client.post("/v1/connections", &body.to_string()).await }
        });
        let mut application = accept(&applications).await;
        let mut feed = accept(&feeds).await;
        dialled.await.unwrap().expect(201);
        feed.text("tick").await;
        application.expect_text("tick").await;
        application.text("tock").await;
        feed.expect_text("tock").await;
    }
    let body = json!({"url": "ws://x", "backend": {"kind": "relay", "url": "ws://y", "tries": 0}});
    let refused = house.client.post("/v1/connections", &body.to_string()).await;
    let problem = refused.refused(400, "invalid_request");
    assert!(problem["detail"].as_str().unwrap().contains("backend.tries"), "{problem}");
}

#[tokio::test]
async fn only_so_many_dialers_can_be_made() {
    let house = House::with(InMemory::default(), |control| {
        control.settings.change(|live| {
            (live.control.allow_dial, live.control.max_dialers) = (true, 2);
        });
    })
    .await;
    // One of the configuration does not count.
    house.supervisor.keep(DialerOptions::new("own", "ws://127.0.0.1:9")).unwrap();
    let make = |name: &str| {
        json!({"url": "ws://127.0.0.1:9", "name": name, "reconnect": {"min": "1h", "max": "1h"}})
            .to_string()
    };
    for name in ["a", "b"] {
        house.client.post("/v1/connections", &make(name)).await.expect(201);
    }
    let refused = house.client.post("/v1/connections", &make("c")).await;
    let problem = refused.refused(429, "too_many_dialers");
    assert!(problem["detail"].as_str().unwrap().contains("control.max_dialers"), "{problem}");
    house.client.delete("/v1/dialers/a").await.expect(202);
    let made = timeout(SOON, async {
        while house.client.post("/v1/connections", &make("c")).await.status != 201 {}
    });
    made.await.expect("awaited room for another in vain");
}
