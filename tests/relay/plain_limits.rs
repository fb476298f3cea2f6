//! Plain HTTP has limits of its own, leaves no record, and holds no drain for longer than that
//! takes.

use std::time::Duration;

use lastword::DrainOptions;
use lastword::policy::admission::AdmissionLimits;
use lastword::vocabulary::{HttpOutcome, Kind};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use super::plain_end::End;
use super::stage::House;
use crate::support::http::upgrade_request;
use crate::support::raw_peer::RawPeer;
use crate::support::{A_WHILE, SOON};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const EMPTY: &str = "HTTP/1.1 204 No Content\r\n\r\n";

async fn house(limits: AdmissionLimits) -> (House, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    (House::plain(&url, limits).await, listener)
}

/// A client whose request has come to the application.
async fn under_way(house: &House, listener: &TcpListener) -> (End, End) {
    let mut client = End::connect(house).await;
    client.write(GET).await;
    let mut application = End::accept(listener).await;
    application.head().await;
    (client, application)
}

/// A client that was answered, and whose connection is kept.
async fn idle(house: &House, listener: &TcpListener) -> (End, End) {
    let (mut client, mut application) = under_way(house, listener).await;
    application.write(EMPTY).await;
    client.head().await;
    (client, application)
}

fn counted(house: &House, outcome: HttpOutcome) -> u64 {
    let census = house.supervisor.http();
    census.outcomes.iter().find(|(counted, _)| *counted == outcome).unwrap().1
}

#[tokio::test]
async fn pages_take_nothing_from_websockets() {
    let limits = AdmissionLimits {
        max_connections: 2,
        handshakes_per_second: 1,
        accept_rate_per_ip: 1,
        ..AdmissionLimits::default()
    };
    let (mut house, listener) = house(limits).await;
    let mut pages = Vec::new();
    for _ in 0..10 {
        pages.push(under_way(&house, &listener).await);
    }
    let (client, application) =
        tokio::join!(RawPeer::connect(house.address, "/socket"), RawPeer::accept(&listener));
    for (client, application) in &mut pages {
        application.write(EMPTY).await;
        assert!(client.head().await.starts_with("HTTP/1.1 204 "));
    }
    assert_eq!(counted(&house, HttpOutcome::Answered), 10);
    assert_eq!(house.supervisor.http().connections, 10);
    client.reset();
    drop(application);
    // Both legs, and nothing else.
    for _ in 0..2 {
        assert!(!matches!(house.next_ending().await.outcome.kind, Kind::OpenFailed(_)));
    }
    assert!(timeout(A_WHILE, house.endings.next()).await.is_err());
}

#[tokio::test]
async fn requests_beyond_the_rate_get_429_and_leave_no_record() {
    let limits = AdmissionLimits { http_requests_per_second: 1, ..AdmissionLimits::default() };
    let (mut house, listener) = house(limits).await;
    let (mut client, mut application) = idle(&house, &listener).await;
    // On a slow machine a second may pass between two of them.
    let refused = timeout(SOON, async {
        loop {
            client.write(GET).await;
            let answered = async {
                application.head().await;
                application.write(EMPTY).await;
                std::future::pending::<()>().await;
            };
            let head = tokio::select! { head = client.head() => head, () = answered => continue };
            if head.starts_with("HTTP/1.1 429 ") {
                return head;
            }
        }
    });
    let refused = refused.await.expect("awaited a refusal");
    assert!(refused.contains("\r\nRetry-After: 1\r\n"), "{refused}");
    assert!(client.until("\n").await.starts_with("http_requests_per_second is 1, "));
    assert!(counted(&house, HttpOutcome::RefusedRate) > 0);
    // The connection is as good as before.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    client.write(GET).await;
    let mut application = End::accept(&listener).await;
    application.head().await;
    assert!(timeout(A_WHILE, house.endings.next()).await.is_err());
}

#[tokio::test]
async fn of_too_many_clients_the_idle_make_way_and_the_served_do_not() {
    let limits = AdmissionLimits { max_http_connections: 2, ..AdmissionLimits::default() };
    let (mut house, listener) = house(limits).await;
    let (mut idle, mut kept) = idle(&house, &listener).await;
    // It takes the application's connection that was kept.
    let mut served = End::connect(&house).await;
    served.write(GET).await;
    kept.head().await;
    let mut newcomer = End::connect(&house).await;
    newcomer.write(GET).await;
    let mut application = End::accept(&listener).await;
    application.head().await;
    idle.end().await;
    let mut refused = End::connect(&house).await;
    refused.write(GET).await;
    let head = refused.head().await;
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("Retry-After"), "{head}");
    assert_eq!(counted(&house, HttpOutcome::RefusedLimit), 1);
    application.write(EMPTY).await;
    newcomer.head().await;
    drop(served);
    assert!(timeout(A_WHILE, house.endings.next()).await.is_err());
}

/// Shuts down, and returns how long that took.
async fn shut_down(house: &House, within: Duration) -> Duration {
    let began = Instant::now();
    let options = DrainOptions { within, ..DrainOptions::default() };
    timeout(within + SOON, house.supervisor.shutdown(options)).await.expect("awaited the end");
    began.elapsed()
}

#[tokio::test]
async fn an_idle_client_and_a_stream_of_events_hold_no_stop() {
    let (house, listener) = house(AdmissionLimits::default()).await;
    let (mut idle, _kept) = idle(&house, &listener).await;
    let (mut follower, mut application) = under_way_anew(&house, &listener).await;
    let events = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
                  Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
    application.write(events).await;
    follower.until("data: 1\n\n").await;
    let took = shut_down(&house, Duration::from_secs(60)).await;
    // Shorter than the 5 s that a client without progress has.
    assert!(took < Duration::from_millis(4500), "{took:?}");
    idle.end().await;
    follower.until("\r\n").await;
    follower.end().await;
}

/// Does the same, where a connection to the application may be kept open.
async fn under_way_anew(house: &House, listener: &TcpListener) -> (End, End) {
    tokio::time::sleep(Duration::from_millis(1600)).await;
    under_way(house, listener).await
}

#[tokio::test]
async fn what_is_under_way_ends_with_the_drain_and_not_after_it() {
    let (house, listener) = house(AdmissionLimits::default()).await;
    let (mut poll, _application) = under_way(&house, &listener).await;
    let within = Duration::from_millis(700);
    let took = shut_down(&house, within).await;
    assert!(took >= within && took < within + Duration::from_secs(4), "{took:?}");
    let head = poll.head().await;
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("Retry-After"), "{head}");
    poll.until("\n").await;
    poll.end().await;
}

#[tokio::test]
async fn an_answer_that_goes_on_is_finished_and_says_that_it_is_the_last() {
    let (house, listener) = house(AdmissionLimits::default()).await;
    let (mut client, mut application) = under_way(&house, &listener).await;
    let answered = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        application.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        let answer = client.until("\r\n\r\nok").await;
        assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
        client.end().await;
    };
    let (took, ()) = tokio::join!(shut_down(&house, Duration::from_secs(60)), answered);
    // Shorter than the 5 s that a client without progress has.
    assert!(took < Duration::from_millis(4500), "{took:?}");
}

#[tokio::test]
async fn an_unanswered_poll_is_told_to_come_back() {
    let (house, listener) = house(AdmissionLimits::default()).await;
    let (mut poll, _application) = under_way(&house, &listener).await;
    let told = async {
        let head = poll.until_within("\r\n\r\n", 2 * SOON).await;
        assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("Retry-After"), "{head}");
    };
    let (took, ()) = tokio::join!(shut_down(&house, Duration::from_secs(60)), told);
    assert!(took < 2 * SOON, "{took:?}");
}

#[tokio::test]
async fn a_client_that_comes_while_the_node_drains_is_sent_away_without_a_record() {
    let (mut house, _listener) = house(AdmissionLimits::default()).await;
    house.supervisor.refuse_new();
    let mut client = End::connect(&house).await;
    client.write(GET).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("Retry-After"), "{head}");
    client.until("\n").await;
    let mut client = End::connect(&house).await;
    client.write(&upgrade_request("a", "/", "")).await;
    assert!(client.head().await.starts_with("HTTP/1.1 503 "));
    // Only the one that asked for a WebSocket is an attempt.
    assert!(matches!(house.next_ending().await.outcome.kind, Kind::OpenFailed(_)));
    assert!(timeout(A_WHILE, house.endings.next()).await.is_err());
}
