//! `Last-Event-ID`: nothing lost, nothing doubled, and a gap where something is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lastword::ledger::InMemory;
use serde_json::json;

use super::client::{Events, Told};
use super::stage::House;

async fn some(events: &mut Events, count: usize) -> Vec<Told> {
    let mut told = Vec::new();
    while told.len() < count {
        told.push(events.next().await.expect("the stream has ended"));
    }
    told
}

#[tokio::test]
async fn under_a_writer_that_goes_on_nothing_is_lost_and_nothing_doubled() {
    let house = Arc::new(House::with(InMemory::new(100_000), |_| {}).await);
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2)
        .map(|_| {
            let (house, done) = (Arc::clone(&house), Arc::clone(&done));
            tokio::spawn(async move {
                let mut count = 0;
                while !done.load(Ordering::Relaxed) {
                    house.ended().await;
                    count += 1;
                }
                count
            })
        })
        .collect();
    // A reader that reads a few, goes, and comes back where it was, again and again.
    let mut read: Vec<Told> = Vec::new();
    for round in 0..40 {
        let client = match read.last() {
            Some(last) => house.client.with(&format!("Last-Event-ID: {}", last.id.unwrap())),
            None => house.client.with("Last-Event-ID: 0"),
        };
        let mut events = client.follow("?types=ended").await;
        read.extend(some(&mut events, 1 + round * 7 % 150).await);
    }
    done.store(true, Ordering::Relaxed);
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    let last = read.last().unwrap().id.unwrap();
    let client = house.client.with(&format!("Last-Event-ID: {last}"));
    let mut events = client.follow("?types=ended").await;
    let left = written - read.len();
    read.extend(some(&mut events, left).await);

    let due: Vec<String> =
        house.ledger.kept().iter().rev().map(|ending| ending.id.to_string()).collect();
    let read_ids: Vec<String> = read.iter().map(|told| told.ended().to_owned()).collect();
    assert_eq!(read_ids.len(), due.len());
    assert_eq!(read_ids, due);
    assert!(read.windows(2).all(|two| two[0].id < two[1].id), "ids go back");
}

#[tokio::test]
async fn a_stream_that_begins_under_a_writer_has_all_that_follows() {
    let house = Arc::new(House::with(InMemory::new(100_000), |_| {}).await);
    let writer = tokio::spawn({
        let house = Arc::clone(&house);
        async move {
            for _ in 0..2000 {
                house.ended().await;
            }
        }
    });
    let mut readers = Vec::new();
    for _ in 0..10 {
        let mut events = house.client.follow("?types=opened,ended").await;
        let first = events.next().await.unwrap();
        readers.push((events, first.id.unwrap()));
    }
    writer.await.unwrap();
    for (mut events, first) in readers {
        let mut at = first;
        while at < 4000 {
            let told = events.next().await.unwrap();
            at += 1;
            assert_eq!(told.id, Some(at));
        }
    }
}

#[tokio::test]
async fn what_is_gone_is_a_gap_at_its_place() {
    let house = House::with(InMemory::new(3), |_| {}).await;
    let mut ended = Vec::new();
    for _ in 0..5 {
        ended.push(house.ended().await);
    }
    // Each has opened and ended, so the endings have even places.
    let mut events = house.client.follow("?types=ended&last_event_id=2").await;
    let told = some(&mut events, 4).await;
    let gap = json!({"event": "gap", "missed": null, "why": "expired"});
    assert_eq!((&*told[0].word, &told[0].data, told[0].id), ("gap", &gap, None));
    let rest: Vec<&str> = told[1..].iter().map(Told::ended).collect();
    assert_eq!(rest, ended[2..]);
    // Nothing is gone behind this one.
    let mut events = house.client.follow("?types=ended&last_event_id=4").await;
    assert_eq!(some(&mut events, 1).await[0].ended(), ended[2]);
    // An id that is yet to come is that of another ledger.
    let mut events = house.client.follow("?types=ended&last_event_id=4000").await;
    assert_eq!(some(&mut events, 1).await[0].data, gap);
    let next = house.ended().await;
    let told = some(&mut events, 1).await;
    assert_eq!((told[0].ended(), told[0].id), (&*next, Some(12)));
}

#[tokio::test]
async fn types_that_are_not_stored_are_a_gap_if_anything_happened() {
    let house = House::new().await;
    let first = house.ended().await;
    let second = house.ended().await;
    for (types, gap) in
        [("opened,ended", true), ("closing", true), ("drain,ended", true), ("ended", false)]
    {
        let mut events = house.client.follow(&format!("?types={types}&last_event_id=1")).await;
        let mut told = Vec::new();
        if gap {
            told.extend(some(&mut events, 1).await);
            assert_eq!(told[0].data, json!({"event": "gap", "missed": null, "why": "not_stored"}));
        }
        if types.contains("ended") {
            let rest = some(&mut events, 2).await;
            assert_eq!([rest[0].ended(), rest[1].ended()], [&*first, &*second], "{types}");
        }
    }
    // Nothing has happened since, so nothing is missing.
    let mut events = house.client.with("Last-Event-ID: 4").follow("").await;
    let third = house.ended().await;
    let told = some(&mut events, 2).await;
    assert_eq!((&*told[0].word, told[0].id), ("opened", Some(5)));
    assert_eq!((told[1].ended(), told[1].id), (&*third, Some(6)));
}
