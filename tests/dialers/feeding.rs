//! What a dialer says, and when it counts as ready.

use std::time::Duration;

use lastword::config::{Heartbeat, SecretSource};
use lastword::vocabulary::{Cause, DialerPhase, Kind, Secret};
use lastword::{
    Backend, ConnectionHandle, DialerOptions, Handler, HandlerFailure, KeepError, Supervisor,
};

use super::stage::{Feed, Scene, closed, options, reset, say, soon, text};
use crate::support::tls::{Authority, Flaw};

#[tokio::test]
async fn it_says_what_is_to_be_said_after_every_connect_and_is_ready_when_told() {
    let scene = Scene::new(|options| {
        options.dialer.on_open = vec!["subscribe a".to_owned(), "subscribe b".to_owned()];
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
        let mut settings = lastword::config::ConnectionSettings::default();
        settings.limits.inbox_bytes = lastword::config::ByteSize(1024);
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
