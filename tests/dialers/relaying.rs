//! A feed that is passed on to an application.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use lastword::settings::{Heartbeat, OnClientLost, OpeningStep, RelayBackend, Reply};
use lastword::vocabulary::{Cause, CloseCode, DialerPhase, Direction, Fault, Kind, OpenFailure};
use lastword::{ConnectionHandle, DialError, DialerOptions, Relay, SendError, Supervisor};
use tokio::io::AsyncReadExt;
use tokio_tungstenite::tungstenite::Message as Wire;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::stage::{Feed, Scene, Socket, close, closed, reset, say, soon, text};

/// A dialer whose feed goes to an application.
struct House {
    scene: Scene,
    application: Feed,
}

impl House {
    async fn new(set_up: impl FnOnce(&mut DialerOptions, &mut RelayBackend)) -> Self {
        let application = Feed::new().await;
        let scene = Scene::new(|options| {
            let mut relay = RelayBackend::new(application.url().parse().unwrap());
            relay.on_backend_lost = CloseCode::GOING_AWAY;
            set_up(options, &mut relay);
            *options = options.clone().relay(relay);
        });
        let scene = scene.await;
        Self { scene, application }
    }

    /// Accepts both: the application comes first.
    async fn accept(&self) -> (Socket, Socket) {
        let application = self.application.accept().await;
        (self.scene.feed.accept().await, application)
    }

    /// The legs of the connection: the feed's and the application's.
    async fn legs(&self) -> (ConnectionHandle, ConnectionHandle) {
        let found = self.scene.dialer.wait_for(|status| status.connection.is_some());
        soon("the connection", found).await.unwrap();
        let feed = self.scene.dialer.connection().unwrap();
        let all = self.scene.supervisor.connections();
        let other = all.into_iter().find(|leg| leg.id() != feed.id()).unwrap();
        (feed, other)
    }
}

#[tokio::test]
async fn frames_pass_and_what_is_to_be_said_comes_first() {
    let mut house = House::new(|options, _| {
        options.dialer.on_open = vec!["subscribe a".into(), "subscribe b".into()];
        options.dialer.ready_on = Some("subscribed".to_owned());
    })
    .await;
    let mut application = house.application.accept().await;
    // It speaks before there is a feed.
    say(&mut application, "early").await;
    let mut feed = house.scene.feed.accept().await;
    for said in ["subscribe a", "subscribe b", "early"] {
        assert_eq!(text(&mut feed).await, said);
    }
    say(&mut feed, "welcome").await;
    assert_eq!(text(&mut application).await, "welcome");
    house.scene.reaches(DialerPhase::Open).await;
    // What makes it ready may come in pieces.
    let piece = |text: &'static str, opcode, fin| {
        Wire::Frame(Frame::message(text.as_bytes(), OpCode::Data(opcode), fin))
    };
    feed.send(piece("{sub", Data::Text, false)).await.unwrap();
    feed.send(piece("scrib", Data::Continue, false)).await.unwrap();
    feed.send(piece("ed}", Data::Continue, true)).await.unwrap();
    assert_eq!(text(&mut application).await, "{subscribed}");
    house.scene.reaches(DialerPhase::Ready).await;

    let (leg, other) = house.legs().await;
    for leg in [&leg, &other] {
        let origin = leg.origin();
        assert_eq!(origin.direction, Direction::Outbound);
        assert_eq!(origin.dialer.as_deref(), Some("feed"));
        assert_eq!(origin.backend.as_deref(), Some("relay"));
        let url = &origin.upstream.as_ref().unwrap().url;
        assert!(url.ends_with("/stream?token=***"), "{url}");
        assert_eq!(leg.try_send("psst").unwrap_err().error, SendError::Relayed);
    }
    assert_ne!(leg.origin().upstream, other.origin().upstream);

    let ((), told) = tokio::join!(close(application, 1000, "done"), closed(&mut feed));
    assert_eq!(told, (1000, "done".to_owned()));
    drop(feed);
    let endings = [house.scene.next_ending().await, house.scene.next_ending().await];
    let of = |id| endings.iter().find(|ending| ending.id == id).unwrap();
    let (feed, application) = (of(leg.id()), of(other.id()));
    assert_eq!(feed.relay_peer, Some(other.id()));
    assert_eq!(application.relay_peer, Some(leg.id()));
    assert_eq!((feed.outcome.kind, feed.outcome.cause), (Kind::Clean, Cause::RelayPeer));
    assert_eq!((application.outcome.kind, application.outcome.cause), (Kind::Clean, Cause::Peer));
    let traffic = feed.traffic.as_ref().unwrap();
    assert_eq!((traffic.messages_in, traffic.messages_out), (2, 3));
    // And once more, from the beginning.
    let (mut feed, _application) = house.accept().await;
    assert_eq!(text(&mut feed).await, "subscribe a");
}

#[tokio::test]
async fn a_feed_is_left_alone_while_its_application_is_away() {
    let mut house = House::new(|_, relay| relay.tries = 1).await;
    let head = house.application.refuse("503 Busy").await;
    assert!(head.header("lastword-connection-id").is_some(), "{head:?}");
    let ending = house.scene.next_ending().await;
    assert_eq!(ending.outcome.kind, Kind::OpenFailed(OpenFailure::BackendRefused));
    assert_eq!(ending.outcome.fault, Fault::Backend);
    assert_eq!(ending.origin.dialer.as_deref(), Some("feed"));
    let upstream = ending.origin.upstream.as_ref().unwrap();
    assert_eq!(upstream.status, Some(503));
    assert_eq!(house.scene.next_reconnecting().await.ending.id, ending.id);
    house.scene.feed.is_left_alone().await;

    let closed = format!("ws://127.0.0.1:{}/", free_port());
    let scene = Scene::new(|options| {
        *options = options.clone().relay(RelayBackend::new(closed.parse().unwrap()));
    });
    let mut scene = scene.await;
    let ending = scene.next_ending().await;
    assert_eq!(ending.outcome.kind, Kind::OpenFailed(OpenFailure::BackendUnreachable));
    assert!(ending.outcome.detail.contains("application"), "{ending}");
    scene.feed.is_left_alone().await;
}

#[tokio::test]
async fn steps_and_replies_go_between_the_messages_of_the_application() {
    let house = House::new(|options, _| {
        let step = |send: &str, wait_for: &str| OpeningStep {
            send: Some(send.to_owned()),
            wait_for: Some(wait_for.to_owned()),
        };
        options.dialer.on_open = vec![step("init", "ack"), "subscribe".into()];
        options.dialer.reply = vec![Reply { when: "2".to_owned(), send: "3".to_owned() }];
    })
    .await;
    let mut application = house.application.accept().await;
    say(&mut application, "early").await;
    let mut feed = house.scene.feed.accept().await;
    assert_eq!((&*text(&mut feed).await, &*text(&mut feed).await), ("init", "early"));
    let piece = |text: &'static str, opcode, fin| {
        Wire::Frame(Frame::message(text.as_bytes(), OpCode::Data(opcode), fin))
    };
    // What is waited for may come in pieces.
    feed.send(piece("a", Data::Text, false)).await.unwrap();
    feed.send(piece("ck", Data::Continue, true)).await.unwrap();
    assert_eq!(text(&mut feed).await, "subscribe");
    house.scene.reaches(DialerPhase::Ready).await;
    // An answer does not go into a message of the application.
    application.send(piece("be", Data::Text, false)).await.unwrap();
    soon("the pieces", application.flush()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    for _ in 0..2 {
        say(&mut feed, "2").await;
    }
    say(&mut feed, "22").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    application.send(piece("gun", Data::Continue, true)).await.unwrap();
    for said in ["begun", "3", "3"] {
        assert_eq!(text(&mut feed).await, said);
    }
    // The application sees all of it.
    for said in ["ack", "2", "2", "22"] {
        assert_eq!(text(&mut application).await, said);
    }
}

#[tokio::test]
async fn an_application_whose_feed_is_called_off_is_told_and_recorded() {
    for drained in [false, true] {
        let mut house = House::new(|_, _| {}).await;
        let mut application = house.application.accept().await;
        let _feed = house.scene.feed.tcp().await;
        match drained {
            true => {
                let options = lastword::DrainOptions::default();
                drop(house.scene.supervisor.start_drain(options).unwrap());
            }
            false => house.scene.dialer.pause(None),
        }
        let told = closed(&mut application).await;
        assert_eq!(told, (1001, "the feed is no longer dialled".to_owned()));
        drop(application);
        let endings = [house.scene.next_ending().await, house.scene.next_ending().await];
        let feed = endings.iter().find(|ending| ending.outcome.kind.open_failure().is_some());
        assert_eq!(
            feed.unwrap().outcome.kind,
            Kind::OpenFailed(OpenFailure::RefusedDraining),
            "{feed:?}"
        );
        let leg = endings.iter().find(|ending| ending.outcome.kind == Kind::Clean).unwrap();
        assert_eq!(leg.outcome.cause, Cause::RelayPeer);
        assert_eq!(leg.origin.dialer.as_deref(), Some("feed"));
    }
}

#[tokio::test]
async fn a_dial_that_is_dropped_tells_its_application() {
    let (application, feed) = (Feed::new().await, Feed::new().await);
    let supervisor = Supervisor::builder().start().await.unwrap();
    let mut endings = supervisor.endings();
    let relay = Relay::new(RelayBackend::new(application.url().parse().unwrap())).unwrap();
    let (dial, url) = (supervisor.clone(), feed.url());
    let dialling = tokio::spawn(async move { dial.dial(&url).relay(&relay).await });
    let mut application = application.accept().await;
    let _feed = feed.tcp().await;
    dialling.abort();
    assert_eq!(closed(&mut application).await.0, 1001);
    drop(application);
    let kinds = [soon("an ending", endings.next()).await, soon("an ending", endings.next()).await];
    let kinds = kinds.map(|ending| ending.unwrap().unwrap().outcome.kind);
    assert!(kinds.contains(&Kind::Clean), "{kinds:?}");
    assert!(kinds.contains(&Kind::OpenFailed(OpenFailure::RefusedDraining)), "{kinds:?}");
}

/// A port without a listener.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn an_application_that_leaves_while_its_feed_is_dialled_calls_that_off() {
    let mut house = House::new(|_, _| {}).await;
    let application = house.application.accept().await;
    // The feed does not answer the opening handshake, for which there are 10 s.
    let mut feed = house.scene.feed.tcp().await;
    reset(application);
    let endings = [house.scene.next_ending().await, house.scene.next_ending().await];
    let of = |wanted: bool| {
        let is_attempt = |kind: &Kind| matches!(kind, Kind::OpenFailed(_));
        endings.iter().find(|e| is_attempt(&e.outcome.kind) == wanted).unwrap()
    };
    let attempt = of(true);
    assert_eq!(attempt.outcome.kind, Kind::OpenFailed(OpenFailure::BackendUnreachable));
    assert_eq!(attempt.outcome.fault, Fault::Backend);
    assert!(attempt.outcome.detail.contains("application left"), "{attempt}");
    assert_eq!(attempt.origin.upstream.as_ref().unwrap().status, Some(101));
    let leg = of(false);
    let kinds = [Kind::ConnectionReset, Kind::ClosedPrematurely];
    assert!(kinds.contains(&leg.outcome.kind), "{leg}");
    let mut request = Vec::new();
    soon("the feed to be let go", feed.read_to_end(&mut request)).await.unwrap();
    assert!(request.starts_with(b"GET "));
}

#[tokio::test]
async fn a_lost_application_closes_the_feed_which_is_dialled_again() {
    let mut house = House::new(|_, _| {}).await;
    let (mut feed, application) = house.accept().await;
    let (leg, _) = house.legs().await;
    reset(application);
    assert_eq!(closed(&mut feed).await.0, 1001);
    drop(feed);
    let ending = soon("the end", leg.ended()).await;
    assert_eq!(
        (ending.outcome.kind, ending.outcome.cause),
        (Kind::BackendFailed, Cause::RelayPeer)
    );
    assert_eq!(ending.outcome.fault, Fault::Backend);
    house.accept().await;
    assert_eq!(house.scene.next_reconnecting().await.ending.id, leg.id());
}

#[tokio::test]
async fn a_lost_feed_drops_the_application_or_tells_it() {
    for on_client_lost in [OnClientLost::Abort, OnClientLost::Close(CloseCode::GOING_AWAY)] {
        let house = House::new(|_, relay| relay.on_client_lost = on_client_lost).await;
        let (feed, mut application) = house.accept().await;
        let (_, leg) = house.legs().await;
        reset(feed);
        let (kind, what) = match on_client_lost {
            OnClientLost::Abort => {
                assert!(soon("a reset", application.next()).await.unwrap().is_err());
                (Kind::Aborted, "the feed was lost")
            }
            OnClientLost::Close(code) => {
                assert_eq!(closed(&mut application).await.0, code.get());
                (Kind::Clean, "")
            }
            other => panic!("{other:?}"),
        };
        drop(application);
        let ending = soon("the end", leg.ended()).await;
        assert_eq!((ending.outcome.kind, ending.outcome.cause), (kind, Cause::RelayPeer));
        assert!(ending.outcome.detail.contains(what), "{ending}");
    }
}

#[tokio::test]
async fn the_heart_beats_between_the_messages_of_the_application() {
    let house = House::new(|options, _| {
        let every = Duration::from_millis(50);
        options.dialer.heartbeat = Some(Heartbeat { send: "ping".to_owned(), every });
    })
    .await;
    let (mut feed, mut application) = house.accept().await;
    assert_eq!(text(&mut feed).await, "ping");
    let piece = |text: &'static str, opcode, fin| {
        Wire::Frame(Frame::message(text.as_bytes(), OpCode::Data(opcode), fin))
    };
    application.send(piece("be", Data::Text, false)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    application.send(piece("gun", Data::Continue, true)).await.unwrap();
    // A reader that is held to the rules reads all of it.
    let mut pings_after = None;
    while pings_after != Some(2) {
        match (text(&mut feed).await.as_str(), &mut pings_after) {
            ("begun", after @ None) => *after = Some(0),
            ("ping", Some(after)) => *after += 1,
            ("ping", None) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_new_pair_is_ready_before_the_old_one_closes() {
    let mut house = House::new(|options, _| {
        options.dialer.ready_on = Some("subscribed".to_owned());
    })
    .await;
    let (mut old, mut old_application) = house.accept().await;
    say(&mut old, "subscribed").await;
    house.scene.reaches(DialerPhase::Ready).await;
    let before = house.scene.dialer.connection().unwrap().id();
    assert!(house.scene.dialer.rotate());
    let (mut new, mut new_application) = house.accept().await;
    say(&mut new, "welcome").await;
    assert_eq!(text(&mut new_application).await, "welcome");
    say(&mut old, "still here").await;
    assert_eq!(text(&mut old_application).await, "subscribed");
    assert_eq!(text(&mut old_application).await, "still here");
    assert_eq!(house.scene.dialer.connection().unwrap().id(), before);
    say(&mut new, "subscribed").await;
    let (feed, application) = tokio::join!(closed(&mut old), closed(&mut old_application));
    assert_eq!(feed, (1000, "rotated".to_owned()));
    assert_eq!(application.0, 1000);
    let ending = house.scene.next_ending().await;
    assert_eq!(ending.outcome.kind, Kind::Clean, "{ending}");
    let after = house.scene.dialer.wait_for(|status| status.connection != Some(before));
    assert_eq!(soon("the new one", after).await.unwrap().phase, DialerPhase::Ready);
}

#[tokio::test]
async fn a_silent_feed_is_stale_and_a_slow_application_is_not_its_fault() {
    let mut house = House::new(|options, _| {
        options.dialer.stale_after = Duration::from_millis(300);
    })
    .await;
    let (mut feed, mut application) = house.accept().await;
    let seen = tokio::join!(closed(&mut feed), closed(&mut application));
    assert_eq!(seen.0, (1001, "stale".to_owned()));
    assert_eq!(seen.1, seen.0);
    drop((feed, application));
    let mut endings = [house.scene.next_ending().await, house.scene.next_ending().await];
    endings.sort_by_key(|ending| ending.outcome.cause != Cause::Stale);
    assert_eq!(endings[0].outcome.cause, Cause::Stale);

    // The application does not read, so this end stops reading the feed.
    let (feed, _application) = house.accept().await;
    let (leg, _) = house.legs().await;
    let (mut feed, _rest) = feed.split();
    let flood = async {
        loop {
            feed.send(Wire::binary(vec![0; 100_000])).await.unwrap();
        }
    };
    let patience = tokio::time::timeout(Duration::from_millis(1500), flood).await;
    assert!(patience.is_err() && leg.ending().is_none());
    assert_eq!(leg.state(), lastword::vocabulary::CloseState::Open);
}

/// Accepts a WebSocket, answers with this subprotocol, and returns what was offered.
async fn accept_speaking(place: &Feed, subprotocol: Option<&'static str>) -> (Socket, String) {
    let socket = place.tcp().await;
    let mut offered = String::new();
    #[allow(clippy::result_large_err)]
    let answer = |request: &http::Request<()>, mut response: http::Response<()>| {
        offered = request.headers()["sec-websocket-protocol"].to_str().unwrap().to_owned();
        if let Some(name) = subprotocol {
            let name = http::HeaderValue::from_static(name);
            response.headers_mut().insert("sec-websocket-protocol", name);
        }
        Ok(response)
    };
    let upgrade = tokio_tungstenite::accept_hdr_async(socket, answer);
    let socket = soon("the upgrade", upgrade).await.unwrap();
    (socket, offered)
}

#[tokio::test]
async fn the_application_chooses_the_subprotocol() {
    let mut house = House::new(|options, _| {
        options.dialer.subprotocols = vec!["v1".to_owned(), "v2".to_owned()];
    })
    .await;
    // One of a feed that agrees to none is no pair.
    let (mut waiting, offered) = accept_speaking(&house.application, Some("v2")).await;
    let feed = accept_speaking(&house.scene.feed, None).await;
    assert_eq!((&*offered, &*feed.1), ("v1, v2", "v2"));
    let ending = house.scene.next_ending().await;
    let kind = Kind::OpenFailed(OpenFailure::UpgradeRejected { status: 101 });
    assert_eq!(ending.outcome.kind, kind, "{ending}");
    assert!(ending.outcome.detail.contains("v2"), "{ending}");
    // The application, which had answered 101 already, is closed and has its own ending.
    assert_eq!(closed(&mut waiting).await, (1001, "the feed did not open".to_owned()));
    drop(waiting);
    let ending = house.scene.next_ending().await;
    assert_eq!(
        (ending.outcome.kind, ending.outcome.cause, ending.outcome.fault),
        (Kind::Clean, Cause::RelayPeer, Fault::None)
    );
    assert_eq!(ending.origin.dialer.as_deref(), Some("feed"));
    assert_eq!(ending.origin.subprotocol.as_deref(), Some("v2"));

    let _application = accept_speaking(&house.application, Some("v2")).await;
    let _feed = accept_speaking(&house.scene.feed, Some("v2")).await;
    let (leg, other) = house.legs().await;
    assert_eq!(leg.origin().subprotocol.as_deref(), Some("v2"));
    assert_eq!(other.origin().subprotocol.as_deref(), Some("v2"));
}

#[tokio::test]
async fn others_may_send_where_that_is_allowed() {
    let house = House::new(|options, _| options.dialer.inject = true).await;
    let (mut feed, mut application) = house.accept().await;
    let (leg, other) = house.legs().await;
    leg.try_send("to the feed").unwrap();
    other.try_send("to the application").unwrap();
    assert_eq!(text(&mut feed).await, "to the feed");
    assert_eq!(text(&mut application).await, "to the application");
}

#[tokio::test]
async fn a_single_dial_can_be_passed_on_too() {
    let supervisor = Supervisor::builder().start().await.unwrap();
    let (feed, application) = (Feed::new().await, Feed::new().await);
    let relay = Relay::new(RelayBackend::new(application.url().parse().unwrap())).unwrap();
    let (url, dialling) = (feed.url(), supervisor.clone());
    let dialled = tokio::spawn(async move { dialling.dial(&url).relay(&relay).await });
    let mut application = application.accept().await;
    let mut feed = feed.accept().await;
    let connection = soon("the dial", dialled).await.unwrap().unwrap();
    say(&mut feed, "tick").await;
    assert_eq!(text(&mut application).await, "tick");
    let ((), told) = tokio::join!(close(feed, 1001, "bye"), closed(&mut application));
    assert_eq!(told, (1001, "bye".to_owned()));
    assert!(soon("the end", connection.ended()).await.is_clean());

    let closed = format!("ws://127.0.0.1:{}/", free_port());
    let relay = Relay::new(RelayBackend::new(closed.parse().unwrap())).unwrap();
    let failed = supervisor.dial("ws://127.0.0.1:1/").relay(&relay).await.unwrap_err();
    let DialError::Failed(ending) = failed else { panic!("{failed}") };
    assert_eq!(ending.outcome.kind, Kind::OpenFailed(OpenFailure::BackendUnreachable));
}
