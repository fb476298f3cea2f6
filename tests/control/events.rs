//! Events as they happen: in order, by type, and only for who keeps up.

use std::time::Duration;

use lastword::ledger::InMemory;
use serde_json::json;

use super::stage::House;
use crate::support::SOON;

#[tokio::test]
async fn a_connection_is_told_from_its_opening_to_its_ending() {
    let house = House::new().await;
    let mut events = house.client.follow("").await;
    let retry = events.next_block().await.unwrap();
    assert_eq!(retry.rest, "retry: 2000");
    let (mut peer, id) = house.peer("/echo").await;
    peer.close(1000, "bye").await;
    peer.expect_close(SOON).await;
    peer.fin().await;
    let mut told = Vec::new();
    let mut ids = Vec::new();
    loop {
        let event = events.next().await.unwrap();
        assert_eq!(event.data["event"], event.word);
        ids.push(event.id);
        told.push(event.clone());
        if event.word == "ended" {
            break;
        }
    }
    let words: Vec<&str> = told.iter().map(|event| &*event.word).collect();
    assert_eq!((words[0], words[words.len() - 1]), ("opened", "ended"));
    assert!(words[1..words.len() - 1].iter().all(|word| *word == "closing"), "{words:?}");
    assert_eq!(told[0].data["connection"]["id"], *id);
    let ending = &told.last().unwrap().data["ending"];
    assert_eq!(*ending, house.client.get(&format!("/v1/endings/{id}")).await.expect(200));
    // Only what is recorded has a place.
    let placed: Vec<u64> = ids.iter().copied().flatten().collect();
    assert_eq!(placed, [1, 2]);
    assert!(ids[1..ids.len() - 1].iter().all(Option::is_none));

    house.client.post("/v1/drain", r#"{"within":"1s"}"#).await.expect(202);
    let drain = events.next().await.unwrap();
    assert_eq!((&*drain.word, &drain.data["drain"]["within_ms"]), ("drain", &json!(1000)));
}

#[tokio::test]
async fn only_the_types_that_are_asked_for_are_told() {
    let house = House::new().await;
    let mut endings = house.client.follow("?types=ended,gap").await;
    let mut attempts = house.client.follow("?types=open_failed,reconnecting").await;
    let id = house.ended().await;
    let told = endings.next().await.unwrap();
    assert_eq!((&*told.word, told.ended()), ("ended", &*id));
    let request = "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n";
    crate::support::http::exchange(house.listener, request, SOON).await;
    let told = attempts.next().await.unwrap();
    assert_eq!(
        (&*told.word, &told.data["ending"]["open_failure"]),
        ("open_failed", &json!("no_route"))
    );
    for (query, name) in [
        ("types=endings", "endings"),
        ("types=", "types"),
        ("types=ended,", "types"),
        ("types=ended&types=gap", "types"),
        ("kinds=ended", "kinds"),
        ("last_event_id=x", "Last-Event-ID"),
        ("last_event_id=-1", "Last-Event-ID"),
    ] {
        let answer = house.client.get(&format!("/v1/events?{query}")).await;
        let problem = answer.refused(400, "invalid_request");
        assert!(problem["detail"].as_str().unwrap().contains(name), "{query}: {problem}");
    }
    let bad = house.client.with("Last-Event-ID: soon").get("/v1/events").await;
    bad.refused(400, "invalid_request");
}

#[tokio::test]
async fn streams_leave_room_for_everything_else_and_end_with_the_daemon() {
    let house = House::with(InMemory::default(), |control| {
        control.settings.change(|live| live.control.max_connections = 6)
    })
    .await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(house.client.follow("?types=ended").await);
    }
    house.client.get("/v1/events").await.refused(503, "too_many_streams");
    house.client.get("/v1/status").await.expect(200);
    // Who has gone leaves a place.
    drop(streams.pop());
    tokio::time::timeout(SOON, async {
        while house.client.send("HEAD /v1/events", None).await.status != 200 {}
    })
    .await
    .expect("awaited a place");

    let id = house.ended().await;
    house.stop.send_replace(true);
    for stream in &mut streams {
        let told = stream.rest().await;
        assert_eq!((told.len(), told[0].ended()), (1, &*id));
    }
}

/// More than the queue of events and the buffers of a socket hold.
const FLOOD: usize = 8000;

#[tokio::test]
async fn a_reader_that_falls_behind_is_cut_with_a_gap_and_can_resume() {
    let house = House::with(InMemory::new(2 * FLOOD), |control| {
        control.settings.change(|live| live.control.write_timeout = Duration::from_secs(60));
    })
    .await;
    let mut slow = house.client.follow_slowly("?types=ended").await;
    let mut quick = house.client.follow("?types=ended").await;
    let reading = tokio::spawn(async move {
        let mut read = Vec::new();
        while read.len() < FLOOD {
            read.push(quick.next().await.expect("a quick reader is not cut").ended().to_owned());
        }
        read
    });
    let mut ended = Vec::new();
    for _ in 0..FLOOD {
        ended.push(house.ended().await);
    }
    // One stuck reader does not hinder another.
    assert_eq!(reading.await.unwrap(), ended);

    let mut told = slow.rest().await;
    let gap = told.pop().unwrap();
    assert_eq!((&*gap.word, &gap.data["why"], gap.id), ("gap", &json!("too_slow"), None));
    assert!(gap.data["missed"].as_u64().unwrap() > 0, "{gap:?}");
    assert!(told.len() < FLOOD - 1000, "{}", told.len());
    let mut read: Vec<String> = told.iter().map(|event| event.ended().to_owned()).collect();
    let last = told.last().unwrap().id.unwrap();
    let mut resumed = house.client.follow(&format!("?types=ended&last_event_id={last}")).await;
    while read.len() < FLOOD {
        let event = resumed.next().await.unwrap();
        read.push(event.ended().to_owned());
    }
    assert_eq!(read, ended);
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut_off() {
    let house = House::with(InMemory::default(), |control| {
        control.settings.change(|live| live.control.write_timeout = Duration::from_millis(300));
        control.settings.change(|live| live.control.max_connections = 2);
    })
    .await;
    let _stuck = house.client.follow_slowly("?types=ended").await;
    house.client.get("/v1/events").await.refused(503, "too_many_streams");
    // Its buffers fill, and then its place is free.
    let freed = async {
        loop {
            house.ended().await;
            if house.client.send("HEAD /v1/events", None).await.status == 200 {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), freed).await.expect("awaited its end");
}
