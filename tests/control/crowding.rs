//! Crowds at the API: those who ask for nothing, those who follow events and do not read, and those
//! who wait keep no other client out.

use std::time::Duration;

use lastword::ledger::InMemory;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::client::Stream;
use super::stage::House;

/// As a client asks that is in a hurry, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(3);

async fn assert_answers_at_once(house: &House, target: &str) {
    for _ in 0..3 {
        let began = Instant::now();
        let answer = tokio::time::timeout(AT_ONCE * 5, house.client.get(target)).await;
        let answer = answer.unwrap_or_else(|_| panic!("awaited an answer at {target}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(began.elapsed() < AT_ONCE, "{:?} for {target}", began.elapsed());
    }
}

async fn crowd(house: &House, count: usize, says: &str) -> Vec<Box<dyn Stream>> {
    let mut crowd: Vec<Box<dyn Stream>> = Vec::new();
    for _ in 0..count {
        let mut stream = house.client.open().await;
        let _ = stream.write_all(says.as_bytes()).await;
        crowd.push(stream);
    }
    crowd
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_give_way_at_once() {
    let house = House::with(InMemory::default(), |control| {
        control.settings.change(|live| live.control.max_connections = 64);
    })
    .await;
    let _idle = crowd(&house, 300, "").await;
    for target in ["/livez", "/readyz", "/v1/status"] {
        assert_answers_at_once(&house, target).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_that_do_not_read_leave_room_for_others() {
    let house = House::with(InMemory::default(), |control| {
        control.settings.change(|live| live.control.max_connections = 64);
    })
    .await;
    // Half of them follow, the rest is refused and stays.
    let asks = "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let _followers = crowd(&house, 250, asks).await;
    for target in ["/v1/status", "/livez"] {
        assert_answers_at_once(&house, target).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_are_answered_while_every_connection_is_at_work() {
    let house = House::with(InMemory::default(), |control| {
        control.settings.change(|live| live.control.max_connections = 4);
    })
    .await;
    let asks = "POST /v1/broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\
                Content-Type: application/json\r\n\r\n{";
    let _at_work = crowd(&house, 4, asks).await;
    // What was said last may not have been read yet.
    tokio::time::sleep(Duration::from_millis(200)).await;
    for target in ["/livez", "/readyz"] {
        assert_answers_at_once(&house, target).await;
    }
    house.client.get("/v1/status").await.refused(503, "busy");
}
