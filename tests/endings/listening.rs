//! What a listener lets in, what it refuses, and what is recorded of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lastword::policy::admission::AdmissionLimits;
use lastword::settings::{QueryRecording, Records};
use lastword::vocabulary::{Fault, OpenFailure, Retry, TransportEnd};
use lastword::{Builder, DrainOptions, Ending, Route, Supervisor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::stage::{House, failure, patient, settings, soon};
use crate::support::SOON;
use crate::support::frame::{Frame, Side};
use crate::support::http::{self, Answer, upgrade_request};
use crate::support::raw_peer::{End, RawPeer};

fn echo() -> Route {
    Route::echo("/echo").unwrap().with_settings(patient())
}

/// The echo route, changed.
fn echo_with(change: impl FnOnce(&mut Route)) -> Vec<Route> {
    let mut route = echo();
    change(&mut route);
    vec![route]
}

async fn house() -> House {
    House::open(Supervisor::builder(), vec![echo()]).await
}

fn admitting(limits: AdmissionLimits) -> Builder {
    Supervisor::builder().admission(limits)
}

impl House {
    /// Sends a request that is refused; returns the answer and the record, which agree.
    async fn refuses(&mut self, request: impl AsRef<[u8]>, status: u16) -> (Answer, Arc<Ending>) {
        let answer = http::exchange(self.address, request, SOON).await;
        assert_eq!(answer.head.status(), status, "{answer:?}");
        assert_eq!(answer.head.header("connection"), Some("close"), "{answer:?}");
        assert!(!answer.body.is_empty() && answer.body.len() < 300, "{answer:?}");
        let ending = self.next_ending().await;
        let outcome = &ending.outcome;
        assert_eq!((outcome.state, outcome.close_code()), (None, None));
        assert!(outcome.detail.ends_with(&format!("; answered {status}")), "{ending}");
        assert_eq!(ending.origin.listener.as_deref(), Some("public"));
        assert!(ending.origin.peer.is_some() && ending.traffic.is_none());
        (answer, ending)
    }

    /// Sends a legal upgrade request that is refused.
    async fn refuses_upgrade(
        &mut self,
        target: &str,
        more: &str,
        status: u16,
    ) -> (Answer, Arc<Ending>) {
        let request = upgrade_request("here", target, more);
        self.refuses(request, status).await
    }

    async fn connect(&self) -> RawPeer {
        RawPeer::connect(self.address, "/echo").await
    }
}

/// Closes cleanly and waits for the ending, whose place is free then.
async fn leave(house: &mut House, mut peer: RawPeer) {
    peer.close(1000, "").await;
    peer.expect_close(SOON).await;
    assert_eq!(peer.expect_end(SOON).await, End::Fin);
    drop(peer);
    assert!(house.next_ending().await.is_clean());
}

#[tokio::test]
async fn a_connection_is_recorded_with_where_it_came_from() {
    let mut house = house().await;
    let more = "User-Agent: test/1\r\nTraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
    let peer = RawPeer::connect_with(house.address, "/echo", more, &[]).await;
    let (theirs, here) = (peer.local_addr().to_string(), house.address.to_string());
    peer.reset();
    let ending = house.next_ending().await;
    let origin = &ending.origin;
    assert_eq!(origin.listener.as_deref(), Some("public"));
    assert_eq!(origin.route.as_deref(), Some("/echo"));
    assert_eq!(origin.backend.as_deref(), Some("echo"));
    assert_eq!(origin.peer.as_deref(), Some(&*theirs));
    assert_eq!(origin.local_addr.as_deref(), Some(&*here));
    assert_eq!(origin.host.as_deref(), Some(&*here));
    assert_eq!(origin.path.as_deref(), Some("/echo"));
    assert_eq!(origin.user_agent.as_deref(), Some("test/1"));
    assert!(origin.traceparent.as_deref().unwrap().starts_with("00-4bf9"));
}

#[tokio::test]
async fn no_route_gets_404() {
    let mut house = house().await;
    let (answer, ending) = house.refuses_upgrade("/elsewhere", "", 404).await;
    assert!(answer.body.contains("/elsewhere"), "{answer:?}");
    assert_eq!(failure(&ending), OpenFailure::NoRoute);
    assert_eq!(ending.outcome.retry, Retry::Never);
    assert_eq!((ending.outcome.fault, &ending.origin.route), (Fault::Peer, &None));
    assert_eq!(ending.outcome.transport_end, Some(TransportEnd::Fin));
}

#[tokio::test]
async fn a_route_for_another_host_is_no_route() {
    let mine = echo_with(|route| route.host = Some("example.org".to_owned()));
    let mut house = House::open(Supervisor::builder(), mine).await;
    let (_, ending) = house.refuses_upgrade("/echo", "", 404).await;
    assert_eq!(failure(&ending), OpenFailure::NoRoute);
}

#[tokio::test]
async fn a_bad_request_gets_the_answer_it_can_be_given() {
    let get = |lines: &str| format!("GET /echo HTTP/1.1\r\nHost: here\r\n{lines}\r\n");
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let long = "x".repeat(20_000);
    let mut house = house().await;
    for (request, status) in [
        (b"garbage\r\n\r\n".to_vec(), 400),
        // TLS on a plain port.
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 400),
        (get(&format!("X: {long}\r\n")).into(), 431),
        (upgrade_request("here", &format!("/{}", &long[..9000]), "").into(), 414),
        (b"POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n".to_vec(), 405),
        (get("").into(), 426),
        (get(&format!("{upgrade}{key}Sec-WebSocket-Version: 8\r\n")).into(), 426),
        (get(&format!("{upgrade}Sec-WebSocket-Version: 13\r\n")).into(), 400),
        (
            get(&format!("{upgrade}Sec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13\r\n"))
                .into(),
            400,
        ),
        (upgrade_request("here", "/echo", "").replace("HTTP/1.1", "HTTP/1.0").into(), 400),
    ] {
        let (answer, ending) = house.refuses(request, status).await;
        assert_eq!(failure(&ending), OpenFailure::BadRequest, "{ending}");
        assert_eq!(ending.outcome.retry, Retry::Never);
        if status == 426 {
            assert_eq!(answer.head.header("sec-websocket-version"), Some("13"), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn bad_requests_have_no_effect_on_others() {
    let mut house = house().await;
    let mut before = house.connect().await;
    for _ in 0..10 {
        house.refuses(b"garbage\r\n\r\n", 400).await;
    }
    before.text("still here").await;
    before.expect_text("still here").await;
    house.connect().await.text("me too").await;
    let accounting = house.supervisor.accounting();
    assert_eq!((accounting.opened, accounting.ended, accounting.balances()), (2, 0, true));
}

#[tokio::test]
async fn a_request_that_does_not_become_whole_in_time_gets_408() {
    let builder = Supervisor::builder().handshake_timeout(Duration::from_millis(200));
    let mut house = House::open(builder, vec![echo()]).await;
    for request in [b"".as_slice(), b"GET /echo HTTP/1.1\r\nHost: he"] {
        let (_, ending) = house.refuses(request, 408).await;
        assert_eq!(failure(&ending), OpenFailure::HandshakeTimeout);
    }
}

#[tokio::test]
async fn a_peer_that_goes_before_its_request_is_whole_is_peer_gone() {
    let mut house = house().await;
    for resets in [false, true] {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        stream.write_all(b"GET /echo HTTP/1.1\r\n").await.unwrap();
        let peer = RawPeer::over(stream, Side::Client);
        if resets {
            peer.reset()
        } else {
            drop(peer)
        }
        let ending = house.next_ending().await;
        assert_eq!(failure(&ending), OpenFailure::PeerGone);
        let end = if resets { TransportEnd::Reset } else { TransportEnd::Fin };
        assert_eq!(ending.outcome.transport_end, Some(end));
    }
}

#[tokio::test]
async fn max_connections_gets_503_until_one_has_ended() {
    let limits = AdmissionLimits { max_connections: 2, ..Default::default() };
    let mut house = House::open(admitting(limits), vec![echo()]).await;
    let (first, second) = (house.connect().await, house.connect().await);
    let (answer, ending) = house.refuses_upgrade("/echo", "", 503).await;
    assert!(answer.head.header("retry-after").is_some(), "{answer:?}");
    assert_eq!(failure(&ending), OpenFailure::RefusedLimit);
    let limit = ending.outcome.limit.as_ref().unwrap();
    assert_eq!((limit.name, limit.limit, limit.observed), ("max_connections", 2, 3));
    assert!(matches!(ending.outcome.retry, Retry::Backoff { .. }));

    leave(&mut house, first).await;
    // The place is free a moment after the ending was published.
    soon("a free place", async { while try_connect(house.address).await != 101 {} }).await;
    drop(second);
}

/// Asks for an upgrade and returns the status of the answer.
async fn try_connect(address: SocketAddr) -> u16 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(upgrade_request("here", "/echo", "").as_bytes()).await.unwrap();
    let mut head = [0; 12];
    soon("an answer", stream.read_exact(&mut head)).await.unwrap();
    String::from_utf8_lossy(&head[9..]).parse().unwrap()
}

#[tokio::test]
async fn max_connections_per_ip_gets_503() {
    let limits = AdmissionLimits { max_connections_per_ip: 1, ..Default::default() };
    let mut house = House::open(admitting(limits), vec![echo()]).await;
    let _first = house.connect().await;
    let (_, ending) = house.refuses_upgrade("/echo", "", 503).await;
    assert_eq!(failure(&ending), OpenFailure::RefusedLimit);
    assert_eq!(ending.outcome.limit.as_ref().unwrap().name, "max_connections_per_ip");
}

#[tokio::test]
async fn a_refused_attempt_takes_no_place() {
    let limits =
        AdmissionLimits { max_connections: 1, max_connections_per_ip: 1, ..Default::default() };
    let mut house = House::open(admitting(limits), vec![echo()]).await;
    for _ in 0..3 {
        house.refuses_upgrade("/elsewhere", "", 404).await;
    }
    soon("a place", async { while try_connect(house.address).await != 101 {} }).await;
}

#[tokio::test]
async fn too_many_handshakes_a_second_get_429() {
    for (limits, name) in [
        (
            AdmissionLimits { handshakes_per_second: 1, ..Default::default() },
            "handshakes_per_second",
        ),
        (AdmissionLimits { accept_rate_per_ip: 1, ..Default::default() }, "accept_rate_per_ip"),
    ] {
        let mut house = House::open(admitting(limits), vec![echo()]).await;
        // On a slow machine a second may pass between two of them.
        let answer = soon("a refusal", async {
            loop {
                let request = upgrade_request("here", "/elsewhere", "");
                let answer = http::exchange(house.address, request, SOON).await;
                let ending = house.next_ending().await;
                match answer.head.status() {
                    404 => {}
                    429 => break (answer, ending),
                    _ => panic!("{answer:?}"),
                }
            }
        });
        let (answer, ending) = answer.await;
        assert!(answer.head.header("retry-after").is_some(), "{answer:?}");
        assert_eq!(failure(&ending), OpenFailure::RefusedRate);
        assert_eq!(ending.outcome.limit.as_ref().unwrap().name, name);
    }
}

#[tokio::test]
async fn while_draining_503_comes_before_all_else_and_the_open_ones_go_on() {
    let mut house = house().await;
    let mut before = house.connect().await;
    house.supervisor.refuse_new();
    for target in ["/echo", "/elsewhere"] {
        let (answer, ending) = house.refuses_upgrade(target, "", 503).await;
        assert!(answer.head.header("retry-after").is_some(), "{answer:?}");
        assert_eq!(failure(&ending), OpenFailure::RefusedDraining);
        assert_eq!(ending.outcome.fault, Fault::Operator);
    }
    before.text("still here").await;
    before.expect_text("still here").await;
}

#[tokio::test]
async fn after_a_shutdown_nothing_is_taken_over_and_nothing_is_dialled() {
    let house = house().await;
    let report = soon("the shutdown", house.supervisor.shutdown(DrainOptions::default())).await;
    assert_eq!((report.asked, report.cut), (0, 0));
    let url = format!("ws://{}/echo", house.address);
    assert!(house.supervisor.dial(&url).receive().await.is_err());
}

#[tokio::test]
async fn another_origin_gets_403_and_the_route_s_and_none_are_let_in() {
    let origins = vec!["https://example.org".parse().unwrap()];
    let mut house =
        House::open(Supervisor::builder(), echo_with(|route| route.origins = origins)).await;
    for origin in ["https://evil.example", "http://example.org", "https://example.org:444", "null"]
    {
        let (_, ending) =
            house.refuses_upgrade("/echo", &format!("Origin: {origin}\r\n"), 403).await;
        assert_eq!(failure(&ending), OpenFailure::RefusedOrigin, "{origin}");
        assert_eq!(ending.outcome.retry, Retry::Never);
    }
    let origin = "Origin: https://example.org\r\n";
    RawPeer::connect_with(house.address, "/echo", origin, &[]).await.reset();
    house.connect().await.reset();
}

#[tokio::test]
async fn by_default_a_page_of_another_host_cannot_use_the_visitor_s_cookies() {
    let mut house = house().await;
    let host = house.address.to_string();
    for origin in
        ["https://evil.example", "null", "http://127.0.0.1", &format!("http://{host}.evil")]
    {
        let more = format!("Origin: {origin}\r\nCookie: session=hunter2\r\n");
        let (answer, ending) = house.refuses_upgrade("/echo", &more, 403).await;
        assert_eq!(failure(&ending), OpenFailure::RefusedOrigin, "{origin}");
        assert!(!answer.body.contains("hunter2") && !ending.outcome.detail.contains("hunter2"));
    }
    for more in [
        format!("Origin: http://{host}\r\nCookie: session=hunter2\r\n"),
        format!("Origin: https://{host}\r\nCookie: session=hunter2\r\n"),
        "Origin: https://evil.example\r\n".to_owned(),
        "Cookie: session=hunter2\r\n".to_owned(),
    ] {
        RawPeer::connect_with(house.address, "/echo", &more, &[]).await.reset();
    }
}

#[tokio::test]
async fn the_first_subprotocol_of_the_route_that_is_offered_is_chosen() {
    let subprotocols = vec!["v2.chat".to_owned(), "v1.chat".to_owned()];
    let mut house =
        House::open(Supervisor::builder(), echo_with(|route| route.subprotocols = subprotocols))
            .await;
    for (offered, chosen) in [
        ("v1.chat, v2.chat", Some("v2.chat")),
        ("other, v1.chat", Some("v1.chat")),
        ("other", None),
        ("V1.CHAT", None),
    ] {
        let more = format!("Sec-WebSocket-Protocol: {offered}\r\n");
        let peer = RawPeer::connect_with(house.address, "/echo", &more, &[]).await;
        assert_eq!(peer.head.header("sec-websocket-protocol"), chosen, "{offered}");
        peer.reset();
        assert_eq!(house.next_ending().await.origin.subprotocol.as_deref(), chosen);
    }
}

#[tokio::test]
async fn the_query_is_masked_in_records() {
    let records = |query, keep: &[&str]| Records {
        query,
        query_keep: keep.iter().map(ToString::to_string).collect(),
    };
    for (records, recorded) in [
        (Records::default(), "/echo?room=***&token=***"),
        (records(QueryRecording::Mask, &["room"]), "/echo?room=7&token=***"),
        (records(QueryRecording::Keep, &[]), "/echo?room=7&token=secret"),
        (records(QueryRecording::Drop, &[]), "/echo"),
    ] {
        let route = echo().with_settings(settings(|s| s.records = records.clone()));
        let mut house = House::open(Supervisor::builder().records(records), vec![route]).await;
        RawPeer::connect(house.address, "/echo?room=7&token=secret").await.reset();
        assert_eq!(house.next_ending().await.origin.path.as_deref(), Some(recorded));
        // An attempt that no route took is masked alike.
        let target = "/elsewhere?room=7&token=secret";
        let (answer, ending) = house.refuses_upgrade(target, "", 404).await;
        let recorded = recorded.replace("/echo", "/elsewhere");
        assert_eq!(ending.origin.path.as_deref(), Some(&*recorded));
        assert!(!answer.body.contains("secret") && !ending.outcome.detail.contains("secret"));
    }
}

#[tokio::test]
async fn a_backend_that_cannot_be_made_refuses_before_the_101() {
    let route = Route::serve("/echo", || panic!("no backend today")).unwrap();
    let mut house = House::open(Supervisor::builder(), vec![route]).await;
    let (answer, ending) = house.refuses_upgrade("/echo", "", 500).await;
    assert!(!answer.body.contains("today"), "{answer:?}");
    assert_eq!(failure(&ending), OpenFailure::BackendRefused);
    assert_eq!(ending.outcome.fault, Fault::Backend);
    assert!(ending.outcome.detail.contains("no backend today"), "{ending}");
    assert_eq!(ending.origin.route.as_deref(), Some("/echo"));
    assert_eq!(house.supervisor.accounting().opened, 0);
}

#[tokio::test]
async fn a_frame_glued_to_the_request_is_kept() {
    let mut house = house().await;
    let glued = Frame::text("early").encode(Side::Client);
    let mut peer = RawPeer::connect_with(house.address, "/echo", "", &glued).await;
    peer.expect_text("early").await;
    leave(&mut house, peer).await;
}
