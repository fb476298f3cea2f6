//! The code of a route decides about each client, before the client has its answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use lastword::settings::{ByteSize, RelayBackend};
use lastword::vocabulary::{Cause, Fault, Kind, ListenAddress, OpenFailure};
use lastword::{
    Accept, Backend, DialError, Ending, EndingStream, Incoming, OpeningRequest, Refuse, Relay,
    Route, Supervisor,
};
use tokio::net::TcpListener;

use super::stage::{settings, soon};
use crate::support::SOON;
use crate::support::http::{Answer, exchange, upgrade_request};
use crate::support::raw_peer::RawPeer;

struct House {
    supervisor: Supervisor,
    endings: EndingStream,
    address: SocketAddr,
}

impl House {
    async fn open(route: Route, patience: Duration) -> Self {
        let builder = Supervisor::builder().handshake_timeout(patience);
        let supervisor = builder.start().await.unwrap();
        let anywhere = "127.0.0.1:0".parse().unwrap();
        let listener = supervisor.listen("public", &anywhere, vec![route]).await.unwrap();
        let ListenAddress::Tcp(address) = *listener.address() else { panic!("no port") };
        let endings = supervisor.endings();
        Self { supervisor, endings, address }
    }

    async fn next_ending(&mut self) -> Arc<Ending> {
        soon("an ending", self.endings.next()).await.unwrap().unwrap()
    }

    async fn refused(&mut self, more: &str) -> (Answer, Arc<Ending>) {
        let request = upgrade_request("example.org", "/rooms/7?app=web", more);
        let answer = exchange(self.address, request, SOON).await;
        (answer, self.next_ending().await)
    }
}

fn failure(ending: &Ending) -> OpenFailure {
    match ending.outcome.kind {
        Kind::OpenFailed(failure) => failure,
        other => panic!("{other}"),
    }
}

async fn by_cookie(request: OpeningRequest) -> Result<Accept, Refuse> {
    assert_eq!((request.path(), request.query()), ("/rooms/7", Some("app=web")));
    assert_eq!((request.listener(), request.route()), ("public", "/rooms/{room}"));
    assert_eq!(request.tags()["room"], "7");
    assert!(request.peer().ip().unwrap().is_loopback() && request.local().is_some());
    tokio::task::yield_now().await;
    let cookie = request.headers().get("cookie").and_then(|cookie| cookie.to_str().ok());
    match cookie {
        Some("session=ann") => {
            let small = settings(|s| s.limits.max_message_size = ByteSize(4));
            let accept = Accept::new(Backend::echo()).subject("ann").tag("plan", "gold");
            Ok(accept.settings(small).subprotocol("v2"))
        }
        Some("session=slow") => std::future::pending().await,
        Some("session=panic") => panic!("no session store"),
        Some("session=error") => Err(std::io::Error::other("the store is gone"))?,
        Some("session=wrong") => Ok(Accept::new(Backend::none()).tag("a:b", "c")),
        Some(_) => Err(Refuse::forbidden("not you")
            .header(HeaderName::from_static("x-why"), HeaderValue::from_static("list"))
            .detail("on the list of those who may not")),
        None => Err(Refuse::unauthorized("Bearer", "who are you?")),
    }
}

fn rooms() -> Route {
    Route::new("/rooms/{room}", by_cookie).unwrap().with_tag("room", "{room}").unwrap()
}

#[tokio::test]
async fn a_client_that_is_let_in_has_what_the_code_says_of_it() {
    let mut house = House::open(rooms(), SOON).await;
    let dial = house.supervisor.dial(&format!("ws://{}/rooms/7?app=web", house.address));
    let cookie = HeaderValue::from_static("session=ann");
    let dial = dial.header(http::header::COOKIE, cookie).subprotocol("v1").subprotocol("v2");
    let (connection, mut messages) = soon("the dial", dial.receive()).await.unwrap();
    connection.send("four").await.unwrap();
    assert_eq!(messages.receive().await.unwrap(), Incoming::Message("four".into()));
    assert_eq!(connection.origin().subprotocol.as_deref(), Some("v2"));
    connection.send("fives").await.unwrap();
    let endings = [house.next_ending().await, house.next_ending().await];
    let ending = endings.iter().find(|ending| ending.origin.listener.is_some()).unwrap();
    assert_eq!(ending.outcome.kind, Kind::MessageTooBig);
    assert_eq!(ending.origin.subject.as_deref(), Some("ann"));
    let tags: Vec<_> = ending.origin.tags.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(tags, [("plan", "gold"), ("room", "7")]);
    assert_eq!(ending.origin.subprotocol.as_deref(), Some("v2"));
}

#[tokio::test]
async fn a_client_that_is_turned_away_reads_why_and_the_record_says_more() {
    let mut house = House::open(rooms(), SOON).await;
    let (answer, ending) = house.refused("").await;
    assert_eq!((answer.head.status(), answer.body.as_str()), (401, "who are you?\n"));
    assert_eq!(answer.head.header("www-authenticate"), Some("Bearer"));
    assert_eq!(failure(&ending), OpenFailure::Unauthorized);
    assert_eq!(ending.origin.route.as_deref(), Some("/rooms/{room}"));

    let (answer, ending) = house.refused("Cookie: session=eve\r\n").await;
    assert_eq!((answer.head.status(), answer.body.as_str()), (403, "not you\n"));
    assert_eq!(answer.head.header("x-why"), Some("list"));
    assert_eq!(failure(&ending), OpenFailure::Unauthorized);
    assert!(ending.outcome.detail.contains("on the list"), "{ending}");

    for (session, what) in [
        ("error", "the store is gone"),
        ("panic", "the route's code panicked: no session store"),
        ("wrong", "an invalid tag (\"a:b\")"),
    ] {
        let (answer, ending) = house.refused(&format!("Cookie: session={session}\r\n")).await;
        assert_eq!((answer.head.status(), answer.body.as_str()), (500, "the server failed\n"));
        assert_eq!(failure(&ending), OpenFailure::BackendRefused);
        assert_eq!(ending.outcome.fault, Fault::Backend);
        assert!(ending.outcome.detail.contains(what), "{ending}");
    }
    // A subprotocol that was not offered is no answer to give.
    let (answer, ending) = house.refused("Cookie: session=ann\r\n").await;
    assert_eq!(answer.head.status(), 500);
    assert!(ending.outcome.detail.contains("\"v2\", which was not offered"), "{ending}");
    assert_eq!(house.supervisor.accounting().opened, 0);
}

#[tokio::test]
async fn code_that_is_too_slow_turns_the_client_away_in_time() {
    let mut house = House::open(rooms(), Duration::from_millis(200)).await;
    let (answer, ending) = house.refused("Cookie: session=slow\r\n").await;
    assert_eq!(answer.head.status(), 503);
    assert!(answer.head.header("retry-after").is_some());
    assert_eq!(failure(&ending), OpenFailure::BackendUnreachable);
    assert!(ending.outcome.detail.contains("did not decide within 200ms"), "{ending}");
}

#[tokio::test]
async fn a_client_that_leaves_meanwhile_is_gone_at_once_and_the_code_is_dropped() {
    struct Told(Arc<AtomicBool>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let dropped = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&dropped);
    let route = Route::new("/", move |_| {
        let told = Told(Arc::clone(&told));
        async move {
            std::future::pending::<()>().await;
            drop(told);
            Ok(Backend::none())
        }
    });
    let mut house = House::open(route.unwrap(), Duration::from_secs(600)).await;
    let mut client = tokio::net::TcpStream::connect(house.address).await.unwrap();
    let request = upgrade_request("example.org", "/", "");
    tokio::io::AsyncWriteExt::write_all(&mut client, request.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(client);
    let ending = house.next_ending().await;
    assert_eq!(failure(&ending), OpenFailure::PeerGone);
    assert!(dropped.load(Ordering::Acquire));
}

#[tokio::test]
async fn code_may_pass_its_client_on_to_an_application() {
    let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", application.local_addr().unwrap());
    let relay = Relay::new(RelayBackend::new(url.parse().unwrap())).unwrap();
    let route = Route::new("/app/*", move |request: OpeningRequest| {
        let relay = Arc::clone(&relay);
        async move {
            let subject = request.headers().get("x-user").ok_or("no x-user")?;
            Ok::<_, Refuse>(Accept::relay(relay).subject(subject.to_str()?))
        }
    });
    let mut house = House::open(route.unwrap(), SOON).await;
    let asked = RawPeer::accept(&application);
    let opening = RawPeer::connect_with(house.address, "/app/7", "X-User: ann\r\n", &[]);
    let (mut app, mut client) = tokio::join!(asked, opening);
    client.text("hello").await;
    app.expect_text("hello").await;
    client.close(1000, "bye").await;
    app.expect_close(SOON).await;
    app.close(1000, "bye").await;
    client.expect_close(SOON).await;
    drop((client, app));
    let endings = [house.next_ending().await, house.next_ending().await];
    let subjects = endings.map(|ending| (ending.is_clean(), ending.origin.subject.clone()));
    assert!(subjects.contains(&(true, Some("ann".to_owned()))), "{subjects:?}");
}

#[tokio::test]
async fn a_client_whose_credentials_have_expired_is_turned_away() {
    let route = Route::new("/rooms/*", async |_| {
        let a_moment_ago = SystemTime::now() - Duration::from_millis(1);
        Ok(Accept::new(Backend::echo()).subject("ann").expires_at(a_moment_ago))
    });
    let mut house = House::open(route.unwrap(), SOON).await;
    let (answer, ending) = house.refused("").await;
    assert_eq!(answer.head.status(), 401);
    assert_eq!(answer.head.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
    assert_eq!(failure(&ending), OpenFailure::Unauthorized);
    assert!(ending.outcome.detail.contains("have expired"), "{ending}");
}

#[tokio::test]
async fn a_relayed_client_is_closed_when_its_credentials_expire() {
    let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", application.local_addr().unwrap());
    let relay = Relay::new(RelayBackend::new(url.parse().unwrap())).unwrap();
    let expires_at = SystemTime::now() + Duration::from_millis(700);
    let route = Route::new("/app/*", move |_| {
        let relay = Arc::clone(&relay);
        async move { Ok(Accept::relay(relay).expires_at(expires_at)) }
    });
    let mut house = House::open(route.unwrap(), SOON).await;
    let asked = RawPeer::accept(&application);
    let opening = RawPeer::connect(house.address, "/app/7");
    let (mut app, mut client) = tokio::join!(asked, opening);
    client.text("hello").await;
    app.expect_text("hello").await;
    let (code, reason) = client.expect_close(SOON).await;
    let late = SystemTime::now().duration_since(expires_at).expect("it closed early");
    assert!(late < Duration::from_secs(1), "{late:?}");
    assert_eq!((code, reason.as_str()), (Some(3000), "token expired"));
    client.close(3000, "token expired").await;
    // The client's answer passes on.
    assert_eq!(app.expect_close(SOON).await.0, Some(3000));
    app.close(3000, "token expired").await;
    drop((client, app));
    let endings = [house.next_ending().await, house.next_ending().await];
    let causes = endings.map(|ending| (ending.is_clean(), ending.outcome.cause));
    assert!(causes.contains(&(true, Cause::AuthExpired)), "{causes:?}");
    assert!(causes.contains(&(true, Cause::RelayPeer)), "{causes:?}");
}

#[tokio::test]
async fn a_refusal_of_any_status_turns_away() {
    for (status, failed) in [
        (StatusCode::NOT_FOUND, OpenFailure::BadRequest),
        (StatusCode::TOO_MANY_REQUESTS, OpenFailure::RefusedRate),
        (StatusCode::SEE_OTHER, OpenFailure::BackendRefused),
        (StatusCode::OK, OpenFailure::BackendRefused),
    ] {
        let route = Route::new("/rooms/*", move |_| async move {
            let refuse = Refuse::new(status, "elsewhere");
            let wait = refuse.retry_after(Duration::from_millis(1500));
            Err::<Accept, _>(
                wait.header(http::header::CONTENT_LENGTH, HeaderValue::from_static("1")),
            )
        });
        let mut house = House::open(route.unwrap(), SOON).await;
        let (answer, ending) = house.refused("").await;
        let due = if status == StatusCode::OK { 500 } else { status.as_u16() };
        assert_eq!((answer.head.status(), answer.body.as_str()), (due, "elsewhere\n"));
        assert_eq!(answer.head.header("retry-after"), Some("2"));
        assert_eq!(failure(&ending), failed);
        let dial = house.supervisor.dial(&format!("ws://{}/rooms/7", house.address));
        assert!(matches!(soon("the dial", dial.receive()).await, Err(DialError::Failed(_))));
    }
}
