//! What the API does to connections, and what it refuses to do.

use std::time::Duration;

use lastword::ledger::InMemory;
use lastword::vocabulary::ConnectionId;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::stage::House;
use crate::support::SOON;
use crate::support::raw_peer::{End, RawPeer};

fn of(id: &str, what: &str) -> String {
    format!("/v1/connections/{id}{what}")
}

#[tokio::test]
async fn a_message_is_queued_and_arrives_as_text_or_binary() {
    let house = House::new().await;
    let (mut peer, id) = house.peer("/echo").await;
    let target = of(&id, "/messages");
    let queued = house.client.post(&target, r#"{"text":"hello ü"}"#).await.expect(202);
    assert_eq!((&queued["id"], &queued["state"]), (&(&*id).into(), &"open".into()));
    peer.expect_text("hello ü").await;
    house.client.post(&target, r#"{"binary":"AAH/"}"#).await.expect(202);
    let frame = peer.read_frame(SOON).await;
    assert_eq!((frame.opcode, &frame.payload[..]), (2, &[0, 1, 255][..]));
    house.client.post(&of(&id[24..], "/messages"), r#"{"text":""}"#).await.expect(202);
    peer.expect_text("").await;
}

#[tokio::test]
async fn a_message_that_cannot_be_queued_is_refused_with_the_reason() {
    let house = House::new().await;
    let unknown = ConnectionId::new().to_string();
    let text = r#"{"text":"x"}"#;
    house.client.post(&of(&unknown, "/messages"), text).await.refused(404, "not_found");

    // It does not read, so what is sent fills the kernel's buffers and then the outbox.
    let peer = RawPeer::connect_with_receive_buffer(house.listener, "/echo", 4096).await;
    let connection = house.supervisor.connections().remove(0);
    let target = of(&connection.id().to_string(), "/messages");
    let large = json!({"text": "x".repeat(60_000)}).to_string();
    let refused = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let answer = house.client.post(&target, &large).await;
            if answer.status != 202 {
                return answer;
            }
        }
    });
    let refused = refused.await.expect("awaited a full outbox");
    let problem = refused.refused(429, "outbox_full");
    assert_eq!(problem["limit"], 65536);
    let queued = problem["queued"].as_u64().unwrap();
    assert!((1..=65536).contains(&queued), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains(&queued.to_string()), "{problem}");
    assert!(refused.header("retry-after").is_some());
    drop(peer);
    connection.ended().await;
    let problem = house.client.post(&target, text).await.refused(409, "invalid_state");
    assert_eq!(problem["state"], "closed");

    let (mut peer, id) = house.peer("/echo").await;
    house.client.post(&of(&id, "/close"), r#"{"wait":false}"#).await.expect(202);
    let problem = house.client.post(&of(&id, "/messages"), text).await;
    assert_eq!(problem.refused(409, "invalid_state")["state"], "close_sent");
    peer.expect_close(SOON).await;
}

#[tokio::test]
async fn a_body_that_means_nothing_is_refused_with_the_field() {
    let house = House::with(InMemory::default(), |control| {
        control.settings.change(|live| live.control.allow_dial = true)
    })
    .await;
    let (_peer, id) = house.peer("/echo").await;
    let (messages, close) = (&*of(&id, "/messages"), &*of(&id, "/close"));
    for (target, body, name) in [
        (messages, "", "text"),
        (messages, "{}", "either text or binary"),
        (messages, r#"{"text":"a","binary":"AA=="}"#, "either text or binary"),
        (messages, r#"{"text":5}"#, "text"),
        (messages, r#"{"binary":"%"}"#, "binary"),
        (messages, r#"{"txt":"a"}"#, "txt"),
        (messages, r#"{"text":"a""#, "eof"),
        (messages, r#"{"text":"a"} x"#, "trailing"),
        (messages, "[]", "object"),
        (messages, "hello", "object"),
        (close, r#"{"cod":1000}"#, "cod"),
        (close, r#"{"code":"1000"}"#, "code"),
        (close, r#"{"code":-1}"#, "code"),
        (close, r#"{"wait":"yes"}"#, "wait"),
        ("/v1/broadcast", "{}", "either text or binary"),
        ("/v1/broadcast", r#"{"text":"a","select":{"room":"7"}}"#, "room"),
        ("/v1/broadcast", r#"{"text":"a","select":{"tag":"7"}}"#, "tag"),
        ("/v1/broadcast", r#"{"text":"a","select":{"route":7}}"#, "select.route"),
        ("/v1/connections", "", "url"),
        ("/v1/connections", r#"{"url":"ws://x","backend":"relay"}"#, "backend"),
        ("/v1/connections", r#"{"url":"ws://x","name":"x"}"#, "name"),
        ("/v1/connections", r#"{"url":"ws://x","reconnect":7}"#, "reconnect"),
        ("/v1/connections", r#"{"url":"ws://x","reconnect":{"mni":"1s"}}"#, "reconnect.mni"),
        ("/v1/connections", r#"{"url":"ws://x","reconnect":{"min":"1m"}}"#, "reconnect.min"),
        ("/v1/connections", r#"{"url":"ws://x","reconnect":true,"name":"a/b"}"#, "name"),
        ("/v1/connections", r#"{"url":"ws://x","reconnect":true,"name":""}"#, "name"),
        ("/v1/connections", r#"{"url":"ftp://x","reconnect":true}"#, "url"),
        ("/v1/connections", r#"{"url":"ws://x","reconnect":true,"headers":{"Host":"a"}}"#, "host"),
        ("/v1/connections", r#"{"url":"ws://x","headers":{"a b":"c"}}"#, "a b"),
        ("/v1/connections", r#"{"url":"ws://x","headers":{"a":"c\r\nd: e"}}"#, "headers.a"),
        ("/v1/connections", r#"{"url":"ws://x","tags":{"a:b":"c"}}"#, "tags.a:b"),
        ("/v1/connections", r#"{"url":"ws://x","tags":{"a":7}}"#, "tags.a"),
        ("/v1/drain", r#"{"spread":"1s","rate":5}"#, "spread or rate"),
        ("/v1/drain", r#"{"within":"soon"}"#, "within"),
        ("/v1/drain", r#"{"speed":1}"#, "speed"),
    ] {
        let problem = house.client.post(target, body).await.refused(400, "invalid_request");
        let detail = problem["detail"].as_str().unwrap().to_lowercase();
        assert!(detail.contains(name), "{target} {body}: {detail}");
    }
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx"] {
        let answer = house.client.send(&format!("POST {close}"), Some((content_type, "{}"))).await;
        answer.refused(415, "unsupported_media_type");
    }
    let large = json!({"text": "x".repeat(2 << 20)}).to_string();
    house.client.post(messages, &large).await.refused(413, "too_large");
    let utf8 = Some(("Application/JSON; charset=utf-8", r#"{"wait":false}"#));
    house.client.send(&format!("POST {close}"), utf8).await.expect(202);
}

#[tokio::test]
async fn a_close_is_sent_and_its_ending_awaited() {
    let house = House::new().await;
    let (mut peer, id) = house.peer("/echo").await;
    let closed = tokio::spawn({
        let (client, target) = (house.client.clone(), of(&id, "/close"));
        async move { client.post(&target, r#"{"code":4001,"reason":"bis später"}"#).await }
    });
    assert_eq!(peer.expect_close(SOON).await, (Some(4001), "bis später".to_owned()));
    peer.close(4001, "bis später").await;
    peer.fin().await;
    let ending = closed.await.unwrap().expect(200);
    for (key, value) in [
        ("id", json!(id)),
        ("kind", json!("clean")),
        ("fault", json!("operator")),
        ("cause", json!("api")),
        ("by", json!("api:local")),
        ("first_close", json!("local")),
        ("close_sent", json!({"code": 4001, "reason": "bis später"})),
    ] {
        assert_eq!(ending[key], value, "{key}");
    }
    // At the end it is the recorded one, for a close as for an abort, and by either name.
    for answer in [
        house.client.post(&of(&id, "/close"), r#"{"code":1001}"#).await,
        house.client.post(&of(&id, "/close"), r#"{"wait":false}"#).await,
        house.client.delete(&of(&id, "")).await,
        house.client.delete(&of(&id[24..], "")).await,
        house.client.get(&format!("/v1/endings/{id}")).await,
    ] {
        assert_eq!(answer.expect(200), ending);
    }
}

#[tokio::test]
async fn a_close_says_1000_unless_told_and_need_not_be_awaited() {
    let house = House::new().await;
    let (mut peer, id) = house.peer("/echo").await;
    let target = of(&id, "/close");
    let accepted = house.client.post(&target, r#"{"wait":false}"#).await.expect(202);
    assert_eq!(accepted["state"], "close_sent");
    assert_eq!(peer.expect_close(SOON).await, (Some(1000), String::new()));
    // A second one changes nothing, and has the same ending, however silent the peer is.
    let began = Instant::now();
    let ending = house.client.post(&target, r#"{"code":4002}"#).await.expect(200);
    assert!(began.elapsed() < SOON);
    assert_eq!(
        (&ending["kind"], &ending["state"]),
        (&"close_timeout".into(), &"close_sent".into())
    );
    assert_eq!(ending["close_sent"]["code"], 1000);
    peer.expect_end(SOON).await;
}

#[tokio::test]
async fn a_close_without_a_body_is_a_close() {
    let house = House::new().await;
    let (mut peer, id) = house.peer("/echo").await;
    let target = of(&id, "/close");
    let (client, line) = (house.client.clone(), format!("POST {target}"));
    let closed = tokio::spawn(async move { client.send(&line, None).await });
    assert_eq!(peer.expect_close(SOON).await, (Some(1000), String::new()));
    peer.close(1000, "").await;
    peer.fin().await;
    assert_eq!(closed.await.unwrap().expect(200)["kind"], "clean");
}

#[tokio::test]
async fn a_close_that_may_not_be_sent_is_refused_by_its_rule() {
    let house = House::new().await;
    let (mut peer, id) = house.peer("/echo").await;
    for (body, rule) in [
        (json!({"code": 1005}), "7.4"),
        (json!({"code": 1006}), "7.4"),
        (json!({"code": 999}), "7.4"),
        (json!({"code": 5000}), "7.4"),
        (json!({"code": 0}), "7.4"),
        (json!({"code": 70000}), "4999"),
        (json!({"reason": "x".repeat(124)}), "123"),
        (json!({"code": 1000, "reason": "ü".repeat(62)}), "123"),
    ] {
        let answer = house.client.post(&of(&id, "/close"), &body.to_string()).await;
        let problem = answer.refused(400, "illegal_close");
        assert!(problem["detail"].as_str().unwrap().contains(rule), "{body}: {problem}");
    }
    // Nothing was sent, and it is open.
    peer.text("still here").await;
    peer.expect_text("still here").await;
    let unknown = ConnectionId::new().to_string();
    house.client.post(&of(&unknown, "/close"), "").await.refused(404, "not_found");
    house.client.delete(&of(&unknown, "")).await.refused(404, "not_found");
}

#[tokio::test]
async fn an_abort_resets_and_says_who_asked() {
    let house = House::new().await;
    let (mut peer, id) = house.peer("/echo").await;
    let ending = house.client.delete(&of(&id, "")).await.expect(200);
    assert_eq!((&ending["kind"], &ending["cause"]), (&"aborted".into(), &"api".into()));
    assert_eq!((&ending["by"], &ending["close_sent"]), (&"api:local".into(), &Value::Null));
    assert_eq!(peer.expect_end(SOON).await, End::Reset);
}

#[tokio::test]
async fn a_broadcast_reaches_those_who_are_selected() {
    let house = House::new().await;
    let (mut chat, _) = house.peer("/echo").await;
    let (mut other, closing) = house.peer("/other").await;
    let broadcast = async |body: &str| house.client.post("/v1/broadcast", body).await.expect(200);
    let told = broadcast(r#"{"text":"all"}"#).await;
    assert_eq!(told, json!({"matched": 2, "queued": 2, "refused": 0}));
    chat.expect_text("all").await;
    other.expect_text("all").await;
    let told = broadcast(r#"{"select":{"route":"/echo","subject":null},"binary":"AQ=="}"#).await;
    assert_eq!(told, json!({"matched": 1, "queued": 1, "refused": 0}));
    assert_eq!(chat.read_frame(SOON).await.payload, [1]);
    let told = broadcast(r#"{"select":{"tag":"room:7"},"text":"x"}"#).await;
    assert_eq!(told, json!({"matched": 0, "queued": 0, "refused": 0}));
    house.client.post(&of(&closing, "/close"), r#"{"wait":false}"#).await.expect(202);
    let told = broadcast(r#"{"select":{"route":"/other"},"text":"x"}"#).await;
    assert_eq!(told, json!({"matched": 1, "queued": 0, "refused": 1}));
}

#[tokio::test]
async fn dialling_has_to_be_allowed() {
    let house = House::new().await;
    let refused = house.client.post("/v1/connections", r#"{"url":"ws://127.0.0.1:1"}"#).await;
    let problem = refused.refused(403, "forbidden");
    assert!(problem["detail"].as_str().unwrap().contains("control.allow_dial"), "{problem}");
    assert_eq!(house.ledger.kept().len(), 0);
}

#[tokio::test]
async fn a_dialled_connection_is_one_like_any_other() {
    let house = House::with(InMemory::default(), |control| {
        control.settings.change(|live| live.control.allow_dial = true)
    })
    .await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/feed?token=hush", listener.local_addr().unwrap());
    for (backend, echoes) in [("echo", true), ("none", false)] {
        let body = json!({
            "url": url, "headers": {"X-Who": "me"}, "tags": {"feed": backend}, "reconnect": null,
            "subprotocols": ["v1.chat"], "backend": backend,
        });
        let dialled = tokio::spawn({
            let client = house.client.clone();
            async move { client.post("/v1/connections", &body.to_string()).await }
        });
        let mut server = RawPeer::accept(&listener).await;
        assert_eq!(server.head.header("x-who"), Some("me"));
        assert_eq!(server.head.header("sec-websocket-protocol"), Some("v1.chat"));
        let answer = dialled.await.unwrap();
        let shown = answer.expect(201);
        let id = shown["id"].as_str().unwrap();
        assert_eq!(answer.header("location"), Some(&*of(id, "")));
        assert_eq!((&shown["direction"], &shown["backend"]), (&"outbound".into(), &backend.into()));
        assert_eq!(
            (&shown["tags"]["feed"], &shown["path"]),
            (&backend.into(), &"/feed?token=***".into())
        );
        assert_eq!(house.client.get(&of(id, "")).await.expect(200)["id"], id);
        let tagged = format!("/v1/connections?tag=feed:{backend}&direction=outbound");
        let tagged = house.client.get(&tagged).await.expect(200);
        assert_eq!(tagged["connections"].as_array().unwrap().len(), 1);

        server.text("hello").await;
        if echoes {
            server.expect_text("hello").await;
        } else {
            house.until(id, |shown| shown["messages_in"] == 1).await;
            server.expect_silence().await;
            let shown = house.client.get(&of(id, "")).await.expect(200);
            assert_eq!(
                (&shown["discarded_messages"], &shown["messages_out"]),
                (&0.into(), &0.into())
            );
        }
        server.close(1000, "bye").await;
        server.expect_close(SOON).await;
        server.fin().await;
        let ending = house.client.post(&of(id, "/close"), "").await.expect(200);
        assert_eq!((&ending["kind"], &ending["tags"]["feed"]), (&"clean".into(), &backend.into()));
    }
}

#[tokio::test]
async fn a_dial_that_fails_has_its_record() {
    let house = House::with(InMemory::default(), |control| {
        control.settings.change(|live| live.control.allow_dial = true)
    })
    .await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = gone.local_addr().unwrap();
    drop(gone);
    for (url, failure) in [
        (format!("ws://{closed}/"), "connect_refused"),
        (format!("ws://{}/nowhere", house.listener), "upgrade_rejected"),
        ("ftp://x".to_owned(), "bad_request"),
    ] {
        let answer = house.client.post("/v1/connections", &json!({"url": url}).to_string()).await;
        let problem = answer.refused(502, "open_failed");
        assert_eq!(problem["ending"]["open_failure"], failure, "{problem}");
        let id = problem["ending"]["id"].as_str().unwrap();
        let recorded = house.client.get(&format!("/v1/endings/{id}")).await.expect(200);
        assert_eq!(recorded, problem["ending"]);
        // It never was a connection: there is nothing to close.
        house.client.post(&of(id, "/close"), "").await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn a_drain_is_begun_with_what_was_asked_for() {
    let house = House::new().await;
    house.client.delete("/v1/drain").await.refused(404, "not_found");
    let body = r#"{"within":"5s","rate":100,"code":1001,"reason":"bye","select":{"tag":"a:b"}}"#;
    let drain = house.client.post("/v1/drain", body).await.expect(202);
    assert_eq!((&drain["within_ms"], &drain["code"]), (&5000.into(), &1001.into()));
    assert_eq!((&drain["reason"], &drain["select"]["tag"]), (&"bye".into(), &"a:b".into()));
    assert!(drain["id"].is_string());
    house.client.post("/v1/drain", r#"{"code":1005}"#).await.refused(400, "illegal_close");
}

#[tokio::test]
async fn who_is_slow_to_ask_is_given_up() {
    let house = House::with(InMemory::default(), |control| {
        control.settings.change(|live| live.control.header_timeout = Duration::from_millis(200));
        control.settings.change(|live| live.control.body_timeout = Duration::from_millis(200));
    })
    .await;
    let half = "POST /v1/broadcast HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    house.client.exchange(half).await.refused(408, "timeout");

    let mut stream = house.client.open().await;
    stream.write_all(b"GET /v1/status HT").await.unwrap();
    let mut rest = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest);
    let ended = tokio::time::timeout(SOON, read).await.expect("awaited the end");
    assert!(ended.is_ok() && !rest.starts_with(b"HTTP/1.1 2"));
}
