//! Make before break: one connection replaces another.

use std::time::Duration;

use lastword::vocabulary::{Cause, DialerChange, DialerPhase, FirstClose, Kind};

use super::stage::{Scene, closed, reset, say, text};

/// A dialer that is ready when "subscribed" comes, and is.
async fn subscribed(rotate_after: Duration) -> (Scene, super::stage::Socket) {
    let scene = Scene::new(|options| {
        options.dialer.ready_on = Some("subscribed".to_owned());
        options.dialer.rotate_after = rotate_after;
    })
    .await;
    let mut socket = scene.feed.accept().await;
    say(&mut socket, "subscribed").await;
    scene.reaches(DialerPhase::Ready).await;
    (scene, socket)
}

#[tokio::test]
async fn the_new_one_is_ready_before_the_old_one_closes() {
    let (mut scene, mut old) = subscribed(Duration::ZERO).await;
    let before = scene.dialer.connection().unwrap();
    assert!(scene.dialer.rotate());
    let mut new = scene.feed.accept().await;
    // Open is not ready: until it is, the old one serves.
    say(&mut new, "welcome").await;
    assert_eq!(scene.dialer.connection().unwrap().id(), before.id());
    before.send("still here").await.unwrap();
    assert_eq!(text(&mut old).await, "still here");
    assert!(scene.dialer.status().rotating);

    say(&mut new, "subscribed").await;
    assert_eq!(closed(&mut old).await, (1000, "rotated".to_owned()));
    drop(old);
    let ending = scene.next_ending().await;
    assert_eq!(ending.id, before.id());
    assert_eq!((ending.outcome.kind, ending.outcome.cause), (Kind::Clean, Cause::Rotated));
    assert_eq!(ending.outcome.first_close, FirstClose::Local);
    let after = scene.dialer.connection().unwrap().id();
    let overlap = scene.change(|change| match change {
        DialerChange::Overlapped { connection, replaced, overlap } => {
            assert_eq!((*connection, *replaced), (after, ending.id));
            Some(*overlap)
        }
        DialerChange::Ready { gap, .. } => {
            assert_eq!(*gap, None);
            None
        }
        _ => None,
    });
    let overlap = overlap.await;
    assert!(overlap.from >= ending.opened_at && overlap.until == ending.ended_at);
    let status = scene.dialer.status();
    assert_eq!((status.opened, status.gaps, status.rotating), (2, 0, false));
}

#[tokio::test]
async fn age_rotates() {
    let (scene, mut old) = subscribed(Duration::from_millis(300)).await;
    let mut new = scene.feed.accept().await;
    say(&mut new, "subscribed").await;
    assert_eq!(closed(&mut old).await.0, 1000);
    assert_eq!(scene.dialer.status().gaps, 0);
}

#[tokio::test]
async fn a_new_one_that_is_refused_leaves_the_old_one_alone() {
    let (mut scene, mut old) = subscribed(Duration::ZERO).await;
    let serving = scene.dialer.connection().unwrap();
    assert!(scene.dialer.rotate());
    scene.feed.refuse("500 Internal Server Error").await;
    assert!(matches!(scene.next_ending().await.outcome.kind, Kind::OpenFailed(_)));
    serving.send("still here").await.unwrap();
    assert_eq!(text(&mut old).await, "still here");
    assert_eq!(scene.dialer.status().phase, DialerPhase::Ready);
    // It is tried again, and the next one is let in.
    let mut new = scene.feed.accept().await;
    say(&mut new, "subscribed").await;
    assert_eq!(closed(&mut old).await.0, 1000);
}

#[tokio::test]
async fn one_that_dies_during_its_rotation_is_replaced_after_a_gap() {
    let (mut scene, old) = subscribed(Duration::ZERO).await;
    let lost = scene.dialer.connection().unwrap().id();
    assert!(scene.dialer.rotate());
    let mut new = scene.feed.accept().await;
    reset(old);
    assert_eq!(scene.next_ending().await.id, lost);
    scene.reaches(DialerPhase::Open).await;
    say(&mut new, "subscribed").await;
    let gap = scene.change(|change| match change {
        DialerChange::Ready { connection, gap: Some(gap), .. } => Some((*connection, *gap)),
        _ => None,
    });
    let (connection, gap) = gap.await;
    assert_ne!(connection, lost);
    assert!(gap.until >= gap.from);
    let status = scene.reaches(DialerPhase::Ready).await;
    assert_eq!(
        (status.opened, status.gaps, status.attempts),
        (2, 1, 0),
        "nothing else was dialled"
    );
}

#[tokio::test]
async fn a_new_one_that_dies_before_it_is_ready_leaves_the_old_one_alone() {
    let (mut scene, mut old) = subscribed(Duration::ZERO).await;
    let serving = scene.dialer.connection().unwrap();
    assert!(scene.dialer.rotate());
    reset(scene.feed.accept().await);
    assert_ne!(scene.next_ending().await.id, serving.id());
    serving.send("still here").await.unwrap();
    assert_eq!(text(&mut old).await, "still here");
    let mut new = scene.feed.accept().await;
    say(&mut new, "subscribed").await;
    assert_eq!(closed(&mut old).await.0, 1000);
    assert_eq!(scene.dialer.status().gaps, 0);
}

#[tokio::test]
async fn there_is_nothing_to_rotate_before_one_is_ready() {
    let scene = Scene::new(|options| options.dialer.ready_on = Some("subscribed".to_owned())).await;
    assert!(!scene.dialer.rotate());
    let _socket = scene.feed.accept().await;
    scene.reaches(DialerPhase::Open).await;
    assert!(!scene.dialer.rotate());
    scene.feed.is_left_alone().await;
}
