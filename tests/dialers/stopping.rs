//! Pausing, draining, shutting down.

use std::time::Duration;

use lastword::DrainOptions;
use lastword::vocabulary::{
    Cause, DialerChange, DialerPhase, Event, Fault, Kind, OpenFailure, Requester,
};
use tokio::time::timeout;

use super::stage::{Scene, closed, soon};

#[tokio::test]
async fn a_pause_closes_and_a_resume_dials() {
    let mut scene = Scene::new(|_| ()).await;
    let mut socket = scene.feed.accept().await;
    scene.reaches(DialerPhase::Ready).await;
    scene.dialer.pause(Some(Requester::Api("ops".into())));
    assert_eq!(closed(&mut socket).await, (1000, "paused".to_owned()));
    drop(socket);
    let ending = scene.next_ending().await;
    assert_eq!((ending.outcome.kind, ending.outcome.cause), (Kind::Clean, Cause::Api));
    assert_eq!(ending.outcome.by, Some(Requester::Api("ops".into())));
    assert_eq!(scene.reaches(DialerPhase::Paused).await.next_try_at, None);
    scene.feed.is_left_alone().await;
    scene.dialer.resume();
    let _socket = scene.feed.accept().await;
    let gap = scene.change(|change| match change {
        DialerChange::Ready { gap: Some(gap), .. } => Some(*gap),
        _ => None,
    });
    assert!(gap.await.duration() > Duration::ZERO);
}

#[tokio::test]
async fn a_pause_calls_off_what_is_being_dialled() {
    let scene = Scene::new(|_| ()).await;
    let socket = scene.feed.tcp().await;
    scene.reaches(DialerPhase::Connecting).await;
    scene.dialer.pause(None);
    scene.reaches(DialerPhase::Paused).await;
    let mut rest = Vec::new();
    let read = async {
        let mut socket = socket;
        tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut rest).await
    };
    let _ = soon("the end", read).await;
    assert_eq!(scene.supervisor.accounting().opened, 0);
}

#[tokio::test]
async fn a_drain_stops_dialling_first_and_one_that_is_called_off_lets_it_go_on() {
    let mut scene = Scene::new(|_| ()).await;
    let mut socket = scene.feed.accept().await;
    scene.reaches(DialerPhase::Ready).await;
    scene.supervisor.start_drain(DrainOptions { stay: true, ..DrainOptions::default() }).unwrap();
    assert_eq!(closed(&mut socket).await.0, 1012);
    drop(socket);
    assert_eq!(scene.next_ending().await.outcome.cause, Cause::Drain);
    let status = scene.reaches(DialerPhase::Waiting).await;
    assert_eq!((status.next_try_at, status.why.as_deref()), (None, Some("this end is draining")));
    scene.feed.is_left_alone().await;
    // That it dials again is announced once it will, and not while the drain lasts.
    let mut early = Vec::new();
    while let Ok(event) = timeout(Duration::ZERO, scene.events.next()).await {
        early.extend(event.filter(|event| matches!(event, Event::Reconnecting(_))));
    }
    assert!(early.is_empty(), "{early:?}");
    scene.supervisor.cancel_drain();
    assert_eq!(scene.next_reconnecting().await.ending.outcome.cause, Cause::Drain);
    let _socket = scene.feed.accept().await;
    scene.reaches(DialerPhase::Ready).await;
}

#[tokio::test]
async fn an_attempt_that_is_called_off_is_recorded() {
    for drained in [false, true] {
        let mut scene = Scene::new(|_| ()).await;
        let _socket = scene.feed.tcp().await;
        let stay = DrainOptions { stay: true, ..DrainOptions::default() };
        match drained {
            true => drop(scene.supervisor.start_drain(stay).unwrap()),
            false => scene.dialer.pause(None),
        }
        let ending = scene.next_ending().await;
        let failure = OpenFailure::RefusedDraining;
        assert_eq!(ending.outcome.kind, Kind::OpenFailed(failure), "{ending}");
        assert_eq!(ending.outcome.fault, Fault::Operator);
        assert_eq!(ending.outcome.detail.contains("drain"), drained, "{ending}");
        assert_eq!(ending.origin.dialer.as_deref(), Some("feed"));
    }
}

#[tokio::test]
async fn once_a_drain_has_finished_it_dials_again() {
    let mut scene = Scene::new(|_| ()).await;
    let mut socket = scene.feed.accept().await;
    scene.reaches(DialerPhase::Ready).await;
    scene.supervisor.start_drain(DrainOptions::default()).unwrap();
    assert_eq!(closed(&mut socket).await.0, 1012);
    drop(socket);
    assert_eq!(scene.next_ending().await.outcome.cause, Cause::Drain);
    let _socket = scene.feed.accept().await;
    scene.reaches(DialerPhase::Ready).await;
}

#[tokio::test]
async fn a_shutdown_ends_it_with_its_connection() {
    let scene = Scene::new(|_| ()).await;
    let mut socket = scene.feed.accept().await;
    scene.reaches(DialerPhase::Ready).await;
    let (report, close) = tokio::join!(scene.supervisor.shutdown(DrainOptions::default()), async {
        let close = closed(&mut socket).await;
        drop(socket);
        close
    });
    assert_eq!((report.asked, report.cut, close.0), (1, 0, 1012));
    assert!(scene.supervisor.accounting().balances());
    scene.feed.is_left_alone().await;
    let gone = scene.dialer.wait_for(|status| status.phase == DialerPhase::Ready);
    assert_eq!(soon("the end of the dialer", gone).await, None);
}

#[tokio::test]
async fn dropping_the_supervisor_ends_it() {
    let Scene { supervisor, dialer, feed, events: _events } = Scene::new(|_| ()).await;
    let mut socket = feed.accept().await;
    soon("ready", dialer.wait_for(|status| status.phase == DialerPhase::Ready)).await;
    drop(supervisor);
    let end = soon("the end", futures_util::StreamExt::next(&mut socket)).await;
    assert!(end.is_none_or(|read| read.is_err()));
    feed.is_left_alone().await;
}

#[tokio::test]
async fn one_that_is_removed_closes_and_is_never_heard_of_again() {
    let mut scene = Scene::new(|_| ()).await;
    let mut socket = scene.feed.accept().await;
    scene.reaches(DialerPhase::Ready).await;
    let by = Requester::Api("ops".into());
    assert!(scene.supervisor.remove_dialer(&scene.dialer, Some(by.clone())));
    assert!(!scene.supervisor.remove_dialer(&scene.dialer, None), "it is gone");
    assert!(scene.supervisor.dialer("feed").is_none());
    // A handle that is still held cannot restart it.
    scene.dialer.resume();
    assert_eq!(closed(&mut socket).await, (1000, "removed".to_owned()));
    drop(socket);
    let ending = scene.next_ending().await;
    assert_eq!((ending.outcome.kind, ending.outcome.cause), (Kind::Clean, Cause::Api));
    assert_eq!(ending.outcome.by, Some(by));
    let over = scene.dialer.wait_for(|status| status.phase == DialerPhase::Ready);
    assert_eq!(soon("its end", over).await, None);
    scene.feed.is_left_alone().await;
}

#[tokio::test]
async fn one_that_is_removed_while_it_dials_or_rests_ends() {
    for paused in [false, true] {
        let scene = Scene::new(|_| ()).await;
        let _socket = scene.feed.tcp().await;
        if paused {
            scene.dialer.pause(None);
            scene.reaches(DialerPhase::Paused).await;
        }
        assert!(scene.supervisor.remove_dialer(&scene.dialer, None));
        let over = scene.dialer.wait_for(|status| status.phase == DialerPhase::Ready);
        assert_eq!(soon("its end", over).await, None);
        assert_eq!(scene.supervisor.accounting().open, 0);
    }
}
