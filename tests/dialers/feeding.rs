//! What a dialer says, and when it counts as ready.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use lastword::settings::{Heartbeat, OpeningStep, Reply, SecretSource};
use lastword::vocabulary::{Cause, DialerPhase, Kind, Secret};
use lastword::{
    Backend, ConnectionHandle, DialerOptions, Handler, HandlerFailure, KeepError, Supervisor,
};
use tokio_tungstenite::tungstenite::Message as Wire;

use super::stage::{Feed, Scene, close, closed, options, reset, say, soon, text};
use crate::support::tls::{Authority, Flaw};
use crate::support::{A_WHILE, SOON};

#[tokio::test]
async fn it_says_what_is_to_be_said_after_every_connect_and_is_ready_when_told() {
    let scene = Scene::new(|options| {
        options.dialer.on_open = vec!["subscribe a".into(), "subscribe b".into()];
        options.dialer.ready_on = Some("subscribed".to_owned());
        options.dialer.tags.insert("venue".to_owned(), "x".to_owned());
    })
    .await;
    for _ in 0..2 {
        let mut socket = scene.feed.accept().await;
        assert_eq!(text(&mut socket).await, "subscribe a");
        assert_eq!(text(&mut socket).await, "subscribe b");
        say(&mut socket, "welcome").await;
        scene.reaches(DialerPhase::Open).await;
        say(&mut socket, "{\"op\":\"subscribed\"}").await;
        scene.reaches(DialerPhase::Ready).await;
        let connection = scene.dialer.connection().unwrap();
        assert_eq!(connection.origin().dialer.as_deref(), Some("feed"));
        assert_eq!(connection.origin().tags["venue"], "x");
        reset(socket);
        soon("the end", connection.ended()).await;
    }
}

/// A step that says something, and waits for what answers it.
fn step(send: &str, wait_for: &str) -> OpeningStep {
    OpeningStep { send: Some(send.to_owned()), wait_for: Some(wait_for.to_owned()) }
}

/// What a GraphQL client says (protocol `graphql-transport-ws`), which the server does not take before
/// it has acknowledged the connection.
fn graphql() -> Vec<OpeningStep> {
    let subscribe = r#"{"id":"1","type":"subscribe","payload":{"query":"subscription{tick}"}}"#;
    vec![step(r#"{"type":"connection_init"}"#, "connection_ack"), subscribe.into()]
}

#[tokio::test]
async fn a_protocol_that_wants_an_answer_in_between_gets_its_steps_in_order() {
    let mut scene = Scene::new(|options| options.dialer.on_open = graphql()).await;
    for round in 1..=2 {
        let mut socket = scene.feed.accept().await;
        assert!(text(&mut socket).await.contains("connection_init"));
        // A server of that protocol closes with 4401 what subscribes before its acknowledgement.
        assert!(tokio::time::timeout(A_WHILE, text(&mut socket)).await.is_err(), "too early");
        scene.reaches(DialerPhase::Open).await;
        say(&mut socket, r#"{"type":"connection_ack"}"#).await;
        assert!(text(&mut socket).await.contains("subscribe"));
        let status = scene.reaches(DialerPhase::Ready).await;
        assert_eq!(status.opened, round);
        for _ in 0..3 {
            say(&mut socket, r#"{"id":"1","type":"next","payload":{"data":{"tick":1}}}"#).await;
        }
        let connection = scene.dialer.connection().unwrap();
        close(socket, 1001, "restart").await;
        let ending = soon("the end", connection.ended()).await;
        let traffic = ending.traffic.as_ref().unwrap();
        assert_eq!((traffic.messages_in, traffic.messages_out), (4, 2));
        // They went where they were to go: nowhere.
        assert_eq!(traffic.discarded_messages, 0, "{ending}");
        assert!(!ending.to_string().contains("lost"), "{ending}");
        assert_eq!(scene.next_reconnecting().await.ending.id, ending.id);
    }
}

#[tokio::test]
async fn steps_may_begin_with_a_wait_and_the_last_may_make_it_ready() {
    let scene = Scene::new(|options| {
        let hello = OpeningStep { send: None, wait_for: Some("hello".to_owned()) };
        options.dialer.on_open = vec![hello, "a".into(), step("b", "ok"), step("c", "ok")];
        options.dialer.ready_on = Some("ok".to_owned());
    })
    .await;
    let mut socket = scene.feed.accept().await;
    assert!(tokio::time::timeout(A_WHILE, text(&mut socket)).await.is_err());
    say(&mut socket, "hello").await;
    assert_eq!((&*text(&mut socket).await, &*text(&mut socket).await), ("a", "b"));
    say(&mut socket, "ok").await;
    assert_eq!(text(&mut socket).await, "c");
    scene.reaches(DialerPhase::Open).await;
    say(&mut socket, "ok").await;
    scene.reaches(DialerPhase::Ready).await;
}

#[tokio::test]
async fn steps_have_as_long_as_the_connection_has_to_become_ready() {
    let mut scene = Scene::new(|options| {
        options.dialer.on_open = graphql();
        options.dialer.ready_within = Duration::from_millis(200);
    })
    .await;
    let mut socket = scene.feed.accept().await;
    assert!(text(&mut socket).await.contains("connection_init"));
    assert_eq!(closed(&mut socket).await, (1001, "not ready".to_owned()));
    drop(socket);
    let ending = scene.next_ending().await;
    assert_eq!(ending.outcome.cause, Cause::Stale);
    assert_eq!(ending.outcome.limit.as_ref().unwrap().name, "ready_within");
}

#[tokio::test]
async fn what_replaces_a_connection_has_its_steps_too() {
    let scene = Scene::new(|options| options.dialer.on_open = graphql()).await;
    let mut first = scene.feed.accept().await;
    text(&mut first).await;
    say(&mut first, "connection_ack").await;
    text(&mut first).await;
    scene.reaches(DialerPhase::Ready).await;
    assert!(scene.dialer.rotate());
    let mut second = scene.feed.accept().await;
    text(&mut second).await;
    say(&mut second, "connection_ack").await;
    assert!(text(&mut second).await.contains("subscribe"));
    assert_eq!(closed(&mut first).await, (1000, "rotated".to_owned()));
}

#[tokio::test]
async fn pings_of_the_application_are_answered_and_are_no_sign_of_life() {
    let scene = Scene::new(|options| {
        let reply = |when: &str, send: &str| Reply { when: when.to_owned(), send: send.to_owned() };
        options.dialer.reply = vec![reply("2", "3"), reply("ping", "pong")];
        options.dialer.stale_after = Duration::from_millis(800);
    })
    .await;
    let mut socket = scene.feed.accept().await;
    scene.reaches(DialerPhase::Ready).await;
    let connection = scene.dialer.connection().unwrap();
    for (when, send) in [("2", "3"), ("ping", "pong")] {
        say(&mut socket, when).await;
        assert_eq!(text(&mut socket).await, send);
    }
    // Only all of a text is answered.
    for other in ["22", "", "2 ", "42ping"] {
        say(&mut socket, other).await;
    }
    socket.send(Wire::binary(b"2".to_vec())).await.unwrap();
    say(&mut socket, "2").await;
    assert_eq!(text(&mut socket).await, "3");
    // A server that only pings has gone silent.
    let stale = async {
        let mut pings = tokio::time::interval(Duration::from_millis(50));
        loop {
            pings.tick().await;
            if socket.send(Wire::text("2")).await.is_err() {
                return;
            }
            match tokio::time::timeout(SOON, socket.next()).await.unwrap() {
                Some(Ok(Wire::Text(answer))) => assert_eq!(answer.as_str(), "3"),
                Some(Ok(Wire::Close(Some(close)))) => {
                    assert_eq!((u16::from(close.code), &*close.reason), (1001, "stale"));
                    // Reading on, it answers.
                    while socket.next().await.is_some_and(|read| read.is_ok()) {}
                    return;
                }
                Some(Ok(Wire::Ping(_) | Wire::Pong(_))) => {}
                _ => return,
            }
        }
    };
    soon("the end", stale).await;
    assert_eq!(soon("the end", connection.ended()).await.outcome.cause, Cause::Stale);
}

#[tokio::test]
async fn what_makes_it_ready_may_come_with_the_opening_handshake() {
    let scene = Scene::new(|options| options.dialer.ready_on = Some("hello".to_owned())).await;
    let mut socket = scene.feed.accept().await;
    say(&mut socket, "hello").await;
    scene.reaches(DialerPhase::Ready).await;
}

#[tokio::test]
async fn a_feed_that_does_not_become_ready_in_time_is_stale() {
    let mut scene = Scene::new(|options| {
        options.dialer.ready_on = Some("subscribed".to_owned());
        options.dialer.ready_within = Duration::from_millis(200);
    })
    .await;
    let mut socket = scene.feed.accept().await;
    say(&mut socket, "please wait").await;
    assert_eq!(closed(&mut socket).await, (1001, "not ready".to_owned()));
    let ending = scene.next_ending().await;
    assert_eq!((ending.outcome.kind, ending.outcome.cause), (Kind::Clean, Cause::Stale));
    assert_eq!(ending.outcome.limit.as_ref().unwrap().name, "ready_within");
    let _second = scene.feed.accept().await;
    assert_eq!(scene.dialer.status().gaps, 0, "there was nothing to interrupt");
}

#[tokio::test]
async fn the_heart_beats() {
    let scene = Scene::new(|options| {
        let every = Duration::from_millis(50);
        options.dialer.heartbeat = Some(Heartbeat { send: "ping".to_owned(), every });
    })
    .await;
    let mut socket = scene.feed.accept().await;
    for _ in 0..3 {
        assert_eq!(text(&mut socket).await, "ping");
    }
}

#[tokio::test]
async fn messages_go_to_the_backend() {
    let supervisor = Supervisor::builder().start().await.unwrap();
    let feed = Feed::new().await;
    supervisor.keep(options("feed", &feed.url()).backend(Backend::echo)).unwrap();
    let mut socket = feed.accept().await;
    say(&mut socket, "tick").await;
    assert_eq!(text(&mut socket).await, "tick");
}

/// Takes one message, and then nothing.
struct Stuck;

impl Handler for Stuck {
    async fn on_message(
        &mut self,
        _: &ConnectionHandle,
        _: lastword::Message,
    ) -> Result<(), HandlerFailure> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_backend_that_takes_nothing_is_to_blame_and_not_the_feed() {
    let mut scene = Scene::new(|options| {
        let mut settings = lastword::settings::ConnectionSettings::default();
        settings.limits.inbox_bytes = lastword::settings::ByteSize(1024);
        settings.limits.inbox_timeout = Duration::from_millis(800);
        let stuck = || Backend::handler("stuck", Stuck);
        *options = options.clone().settings(settings).backend(stuck);
        options.dialer.stale_after = Duration::from_millis(200);
    })
    .await;
    let mut socket = scene.feed.accept().await;
    for _ in 0..10 {
        say(&mut socket, &"x".repeat(1000)).await;
    }
    assert_eq!(closed(&mut socket).await.0, 1011);
    drop(socket);
    let ending = scene.next_ending().await;
    assert_eq!(ending.outcome.kind, Kind::BackendFailed, "{ending}");
}

#[tokio::test]
async fn headers_subprotocols_and_tls_go_with_it() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(Flaw::None);
    let supervisor = Supervisor::builder().start().await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut options = DialerOptions::new("feed", format!("wss://localhost:{port}/stream"));
    options.dialer.ca_file = Some(authority.file());
    options.dialer.subprotocols = vec!["v1.feed".to_owned()];
    let token = SecretSource::Value(Secret::new("Bearer abc"));
    options.dialer.headers.insert("authorization".to_owned(), token);
    let dialer = supervisor.keep(options).unwrap();
    let (socket, _) = soon("TCP", listener.accept()).await.unwrap();
    let stream = soon("TLS", acceptor.accept(socket)).await.unwrap();
    let mut asked = None;
    #[allow(clippy::result_large_err)]
    let answer = |request: &http::Request<()>, mut response: http::Response<()>| {
        asked = request.headers().get("authorization").cloned();
        let chosen = request.headers()["sec-websocket-protocol"].clone();
        response.headers_mut().insert("sec-websocket-protocol", chosen);
        Ok(response)
    };
    let upgrade = tokio_tungstenite::accept_hdr_async(stream, answer);
    let _socket = soon("the upgrade", upgrade).await.unwrap();
    assert_eq!(asked.unwrap(), "Bearer abc");
    soon("ready", dialer.wait_for(|status| status.phase == DialerPhase::Ready)).await.unwrap();
    let connection = dialer.connection().unwrap();
    assert_eq!(connection.origin().tls.as_deref(), Some("TLSv1.3"));
    assert_eq!(connection.origin().subprotocol.as_deref(), Some("v1.feed"));
}

#[tokio::test]
async fn a_name_is_taken_once_and_a_url_must_be_one() {
    let supervisor = Supervisor::builder().start().await.unwrap();
    let feed = Feed::new().await;
    supervisor.keep(options("a", &feed.url())).unwrap();
    let again = supervisor.keep(options("a", &feed.url())).unwrap_err();
    assert_eq!(again, KeepError::NameTaken("a".to_owned()));
    let no_url = supervisor.keep(options("b", "http://a")).unwrap_err();
    assert!(matches!(no_url, KeepError::Url(_)));
    assert!(supervisor.dialer("a").is_some() && supervisor.dialer("b").is_none());
}
