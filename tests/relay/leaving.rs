//! Clients that leave while the application is opening: both connections are dropped at once.

use std::time::Duration;

use lastword::settings::RelayBackend;
use lastword::vocabulary::{Cause, Direction, Fault, Kind, OpenFailure, TransportEnd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::front::Front;
use super::stage::{House, sent, settings};
use crate::support::SOON;
use crate::support::frame::{Frame, Side};
use crate::support::http::{Head, read_request, upgrade_request};
use crate::support::raw_peer::{End, RawPeer};

/// An application that takes its time, and the house before it.
struct Asked {
    house: House,
    application: TcpListener,
}

impl Asked {
    async fn with(change: impl FnOnce(&mut RelayBackend)) -> Self {
        let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", application.local_addr().unwrap());
        let house = House::open(&url, settings(|_| {}), change).await;
        Self { house, application }
    }

    /// Sends a request, and returns both sides; the application has yet to read it.
    async fn dial(&self) -> (TcpStream, TcpStream) {
        let mut client = TcpStream::connect(self.house.address).await.unwrap();
        client.write_all(upgrade_request("here", "/", "").as_bytes()).await.unwrap();
        let accepted = timeout(SOON, self.application.accept()).await;
        (client, accepted.expect("awaited the relay's dial").unwrap().0)
    }

    /// Does the same, once the application has read the request.
    async fn ask(&self) -> (TcpStream, TcpStream, Head) {
        let (client, mut application) = self.dial().await;
        let head = read_request(&mut application, &mut Vec::new()).await;
        (client, application, head)
    }
}

fn go(client: TcpStream, resets: bool) {
    match resets {
        true => RawPeer::over(client, Side::Client).reset(),
        false => drop(client),
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_gone_at_once_and_the_application_is_let_go() {
    let mut asked = Asked::with(|relay| relay.max_pending = 1).await;
    // Bytes that it sends early hide its FIN from a server that does not read on.
    for (early, resets) in [(0, false), (0, true), (9, false), (9, true), (100_000, false)] {
        let began = Instant::now();
        let (mut client, mut application, _) = asked.ask().await;
        client.write_all(&vec![0x82; early]).await.unwrap();
        go(client, resets);
        let ending = asked.house.next_ending().await;
        assert_eq!(ending.outcome.kind, Kind::OpenFailed(OpenFailure::PeerGone), "{ending}");
        assert_eq!(ending.outcome.fault, Fault::Peer);
        let end = if resets { TransportEnd::Reset } else { TransportEnd::Fin };
        assert_eq!(ending.outcome.transport_end, Some(end), "{ending}");
        assert_eq!(ending.origin.backend.as_deref(), Some("relay"));
        assert!(ending.origin.upstream.as_ref().unwrap().addr.is_some(), "{ending}");
        let let_go = timeout(SOON, application.read(&mut [0; 1])).await;
        assert_eq!(let_go.expect("awaited that the application is let go").unwrap(), 0);
        // The response time is 10 s.
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    }
    assert_eq!(asked.house.supervisor.accounting().opened, 0);
}

#[tokio::test]
async fn clients_that_left_take_no_place_from_others() {
    let mut asked = Asked::with(|relay| relay.max_pending = 4).await;
    let mut gone = Vec::new();
    for n in 0..8 {
        let (client, application, _) = asked.ask().await;
        go(client, n % 2 == 1);
        gone.push(application);
        asked.house.next_ending().await;
    }
    let (mut client, _application) = tokio::join!(
        RawPeer::connect(asked.house.address, "/"),
        RawPeer::accept(&asked.application),
    );
    client.text("open").await;
}

#[tokio::test]
async fn what_a_client_sends_early_is_kept_however_much() {
    let asked = Asked::with(|_| {}).await;
    for length in [1, 50_000] {
        let (mut client, application) = asked.dial().await;
        let text = "x".repeat(length);
        for part in Frame::text(&text).encode(Side::Client).chunks(20_000) {
            client.write_all(part).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut application = RawPeer::answer(application, "", &[]).await;
        application.expect_text(&text).await;
        client.write_all(&Frame::text("late").encode(Side::Client)).await.unwrap();
        application.expect_text("late").await;
    }
}

#[tokio::test]
async fn an_application_that_opened_for_a_client_that_left_is_closed_and_recorded() {
    let mut asked = Asked::with(|_| {}).await;
    let (client, mut application, request) = asked.ask().await;
    let key = request.header("sec-websocket-key").unwrap();
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    // Both before the relay runs again, which reads the 101 first.
    go(client, true);
    application.write_all(answer.as_bytes()).await.unwrap();
    let mut application = RawPeer::over(application, Side::Server);
    assert_eq!(application.expect_close(SOON).await.0, Some(1001));
    application.close(1001, "").await;
    application.fin().await;
    assert_eq!(application.expect_end(SOON).await, End::Fin);
    let (mut attempt, mut leg) = (asked.house.next_ending().await, asked.house.next_ending().await);
    if attempt.origin.direction == Direction::Outbound {
        std::mem::swap(&mut attempt, &mut leg);
    }
    assert_eq!(attempt.outcome.kind, Kind::OpenFailed(OpenFailure::PeerGone), "{attempt}");
    assert_eq!(leg.outcome.kind, Kind::Clean, "{leg}");
    assert_eq!((leg.outcome.cause, sent(&leg)), (Cause::RelayPeer, Some(1001)));
    assert_eq!(leg.origin.path.as_deref(), Some("/"));
    assert!(asked.house.supervisor.accounting().balances());
}

#[tokio::test]
async fn a_client_takes_the_place_of_its_application_s_connection_before_that_is_asked() {
    let front = Front::open(&["limits.max_connections=3"], "").await;
    let ask = async |path: &str| {
        let mut client = TcpStream::connect(front.address()).await.unwrap();
        client.write_all(upgrade_request("here", path, "").as_bytes()).await.unwrap();
        client
    };
    let mut first = ask("/first").await;
    let asked = timeout(SOON, front.application.accept()).await.expect("awaited a dial");
    let _second = ask("/second").await;
    let record = front.daemon.await_ending(|e| e["path"] == "/second", SOON).await;
    assert_eq!(record["open_failure"], "refused_limit", "{record}");
    assert_eq!(record["limit"]["name"], "max_connections", "{record}");
    let _application = RawPeer::answer(asked.unwrap().0, "", &[]).await;
    let mut status = [0; 12];
    first.read_exact(&mut status).await.unwrap();
    assert!(status.ends_with(b"101"));
}
