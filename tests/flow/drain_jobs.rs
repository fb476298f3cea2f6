//! Drains that are started and left to themselves: selected, seen, cancelled.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use lastword::policy::drain::Pace;
use lastword::vocabulary::{
    Cause, CloseState, DrainPhase, DrainProgress, Event, Kind, Requester, Role, Selector,
    Stragglers,
};
use lastword::{ConnectionHandle, DrainOptions, NotAccepting, Supervisor};
use tokio::time::Instant;

use super::stage::{Pipe, ended, settings, soon, supervisor};
use crate::support::frame::Frame;

/// Opens a connection with the label `room` of this value.
async fn in_room(supervisor: &Supervisor, room: &str) -> (ConnectionHandle, Pipe) {
    let (mut adopt, peer) = Pipe::adopted(Role::Server, 1024, settings(|_| {}));
    adopt.origin.tags.insert("room".to_owned(), room.to_owned());
    let (connection, _messages) = supervisor.adopt_receiving(adopt).await.unwrap();
    (connection, peer)
}

fn of_room(room: &str) -> DrainOptions {
    let tag = Some(("room".to_owned(), room.to_owned()));
    DrainOptions { select: Selector { tag, ..Selector::default() }, ..DrainOptions::default() }
}

async fn finished(supervisor: &Supervisor) -> Arc<DrainProgress> {
    let began = Instant::now();
    loop {
        let progress = supervisor.drain_progress().unwrap();
        if progress.phase != DrainPhase::Running {
            return progress;
        }
        assert!(began.elapsed() < Duration::from_secs(600), "{progress:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_selection_is_drained() {
    let supervisor = supervisor().await;
    let (seven, mut peer) = in_room(&supervisor, "7").await;
    let (eight, mut other) = in_room(&supervisor, "8").await;
    let started = supervisor.start_drain(of_room("7")).unwrap();
    assert_eq!((started.phase, started.total, started.left.open), (DrainPhase::Running, 1, 1));
    assert!(!supervisor.is_draining(), "new connections are still welcome");
    assert_eq!(peer.expect_close().await.0, Some(1012));
    // Who comes back is left alone: else it would be closed for ever.
    let (again, mut back) = in_room(&supervisor, "7").await;
    peer.send(Frame::close(1012, "")).await;
    let ending = ended(&supervisor, &seven).await;
    assert_eq!(ending.outcome.by, Some(Requester::Drain(started.id.clone())));
    let over = finished(&supervisor).await;
    assert_eq!((over.phase, over.closed, over.cut), (DrainPhase::Finished, 1, 0));
    assert_eq!((over.left.total(), over.asked), (0, 1));
    for (connection, peer) in [(&eight, &mut other), (&again, &mut back)] {
        assert_eq!(connection.state(), CloseState::Open);
        connection.send("still here").await.unwrap();
        peer.expect_text("still here").await;
    }
}

#[tokio::test(start_paused = true)]
async fn stragglers_are_seen_by_state_and_cut_off_at_the_deadline() {
    let supervisor = supervisor().await;
    let (silent, _peer) = in_room(&supervisor, "7").await;
    let (quick, mut peer) = in_room(&supervisor, "7").await;
    let options = DrainOptions { within: Duration::from_secs(5), ..of_room("7") };
    supervisor.start_drain(options).unwrap();
    peer.expect_close().await;
    peer.send(Frame::close(1012, "")).await;
    ended(&supervisor, &quick).await;
    let progress = supervisor.drain_progress().unwrap();
    assert_eq!(progress.left, Stragglers { close_sent: 1, ..Stragglers::default() });
    assert_eq!((progress.closed, progress.total), (1, 2));
    let over = finished(&supervisor).await;
    assert_eq!((over.phase, over.closed, over.cut), (DrainPhase::Finished, 2, 1));
    assert_eq!(over.took.as_secs(), 5);
    assert_eq!(ended(&supervisor, &silent).await.outcome.kind, Kind::DrainDeadline);
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept() {
    let supervisor = supervisor().await;
    let mut connections = Vec::new();
    for _ in 0..10 {
        connections.push(in_room(&supervisor, "7").await);
    }
    let pace = Pace::PerSecond(NonZeroU32::new(2).unwrap());
    supervisor.start_drain(DrainOptions { pace, ..of_room("7") }).unwrap();
    tokio::time::sleep(Duration::from_millis(2200)).await;
    let progress = supervisor.drain_progress().unwrap();
    assert_eq!((progress.asked, progress.left.open, progress.left.close_sent), (5, 5, 5));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_drain_closes_no_more_and_lets_new_ones_in() {
    let supervisor = supervisor().await;
    let (first, mut peer) = in_room(&supervisor, "7").await;
    let mut others = Vec::new();
    for _ in 0..9 {
        others.push(in_room(&supervisor, "7").await);
    }
    let pace = Pace::Over(Duration::from_secs(50));
    let started = supervisor.start_drain(DrainOptions { pace, ..DrainOptions::default() }).unwrap();
    assert!(supervisor.is_draining());
    let refused = supervisor.start_drain(DrainOptions::default()).unwrap_err();
    assert_eq!(refused.id, started.id);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let cancelled = supervisor.cancel_drain().unwrap();
    assert_eq!((cancelled.phase, cancelled.asked), (DrainPhase::Cancelled, 1));
    assert!(!supervisor.is_draining());
    assert!(supervisor.cancel_drain().is_none(), "there is nothing left to cancel");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let asked = std::iter::once((&first, &mut peer))
        .chain(others.iter_mut().map(|(connection, peer)| (&*connection, peer)));
    let mut open = 0;
    for (connection, peer) in asked {
        if connection.state() == CloseState::Open {
            open += 1;
        } else {
            assert_eq!(peer.expect_close().await.0, Some(1012));
            assert_eq!(ended(&supervisor, connection).await.outcome.cause, Cause::Drain);
        }
    }
    assert_eq!(open, 9);
    supervisor.start_drain(DrainOptions::default()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_finished_drain_of_all_lets_new_ones_in_unless_it_is_to_stay() {
    let supervisor = supervisor().await;
    let (connection, mut peer) = in_room(&supervisor, "7").await;
    supervisor.start_drain(DrainOptions::default()).unwrap();
    assert_eq!(supervisor.not_accepting(), Some(NotAccepting::Drain));
    assert_eq!(peer.expect_close().await.0, Some(1012));
    peer.send(Frame::close(1012, "")).await;
    ended(&supervisor, &connection).await;
    assert_eq!(finished(&supervisor).await.phase, DrainPhase::Finished);
    assert_eq!(supervisor.not_accepting(), None);
    assert!(supervisor.cancel_drain().is_none(), "there is nothing left to cancel");

    supervisor.start_drain(DrainOptions { stay: true, ..DrainOptions::default() }).unwrap();
    let drain = finished(&supervisor).await;
    assert_eq!((drain.phase, drain.stay), (DrainPhase::Finished, true));
    assert_eq!(supervisor.not_accepting(), Some(NotAccepting::Drain));
    assert!(supervisor.cancel_drain().is_some());
    assert_eq!(supervisor.not_accepting(), None);
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_ends_takes_back_no_other_reason_to_refuse() {
    let supervisor = supervisor().await;
    supervisor.refuse_new();
    supervisor.start_drain(DrainOptions::default()).unwrap();
    assert_eq!(finished(&supervisor).await.phase, DrainPhase::Finished);
    assert_eq!(supervisor.not_accepting(), Some(NotAccepting::Asked));
    supervisor.shutdown(DrainOptions::default()).await;
    assert_eq!(supervisor.not_accepting(), Some(NotAccepting::Stopping));
}

#[tokio::test(start_paused = true)]
async fn a_signal_takes_over_and_cannot_be_cancelled() {
    let supervisor = supervisor().await;
    let (connection, mut peer) = in_room(&supervisor, "7").await;
    let pace = Pace::Over(Duration::from_secs(50));
    let slow = DrainOptions { pace, within: Duration::from_secs(100), ..DrainOptions::default() };
    let first = supervisor.start_drain(slow).unwrap();
    let by = Some(Requester::Signal("TERM"));
    let stopping = supervisor.drain(DrainOptions { by: by.clone(), ..DrainOptions::default() });
    let answering = async {
        peer.expect_close().await;
        assert!(supervisor.cancel_drain().is_none());
        let current = supervisor.drain_progress().unwrap();
        assert_ne!(current.id, first.id);
        peer.send(Frame::close(1012, "")).await;
    };
    let (report, ()) = tokio::join!(stopping, answering);
    assert_eq!(report.cut, 0);
    ended(&supervisor, &connection).await;
}

#[tokio::test(start_paused = true)]
async fn events_tell_how_it_began_went_on_and_ended() {
    let supervisor = supervisor().await;
    let (_connection, mut peer) = in_room(&supervisor, "7").await;
    let mut events = supervisor.events();
    let started = supervisor.start_drain(of_room("7")).unwrap();
    peer.expect_close().await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    peer.send(Frame::close(1012, "")).await;
    let mut told = Vec::new();
    while told.last().is_none_or(|(phase, _)| *phase == DrainPhase::Running) {
        if let Some(Event::Drain(drain)) = soon("an event", events.next()).await {
            assert_eq!(drain.id, started.id);
            told.push((drain.phase, drain.closed));
        }
    }
    let running = (DrainPhase::Running, 0);
    // At once, each second of the two and a half and of the two that TCP lingers, and at the end.
    assert_eq!(told, [running, running, running, running, running, (DrainPhase::Finished, 1)]);
}
