//! Drains, aborts and the end of a supervisor.

use std::time::Duration;

use lastword::policy::drain::Pace;
use lastword::vocabulary::{Cause, CloseState, Fault, FirstClose, Kind, Requester, Role};
use lastword::{Adopt, Backend, ConnectionHandle, DrainOptions, ShutDown, Supervisor};
use tokio::time::Instant;

use super::stage::{Pipe, ended, piped, sent_code, settings, socket, soon, supervisor};
use crate::support::SOON;
use crate::support::frame::{CLOSE, Frame};
use crate::support::raw_peer::End;

async fn open(supervisor: &Supervisor, count: usize) -> (Vec<ConnectionHandle>, Vec<Pipe>) {
    let (mut connections, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (connection, messages, peer) =
            piped(supervisor, Role::Server, 1024, settings(|_| {})).await;
        drop(messages);
        connections.push(connection);
        peers.push(peer);
    }
    (connections, peers)
}

fn drain(within: u64, spread: u64) -> DrainOptions {
    DrainOptions {
        within: Duration::from_secs(within),
        pace: Pace::Over(Duration::from_secs(spread)),
        by: Some(Requester::Drain("7".into())),
        ..DrainOptions::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_spreads_its_closes_evenly() {
    let supervisor = supervisor().await;
    let (connections, peers) = open(&supervisor, 10).await;
    let began = Instant::now();
    let mut answering = tokio::task::JoinSet::new();
    for mut peer in peers {
        answering.spawn(async move {
            let close = peer.expect_close().await;
            let at = began.elapsed();
            peer.send(Frame::close(1012, "")).await;
            assert_eq!(close, (Some(1012), "service restart".to_owned()));
            at
        });
    }
    let report = soon("the drain", supervisor.drain(drain(60, 20))).await;
    assert_eq!((report.asked, report.cut), (10, 0));
    assert!((18..20).contains(&report.took.as_secs()), "{report:?}");
    let mut times = Vec::new();
    while let Some(at) = answering.join_next().await {
        times.push(at.unwrap().as_millis() / 10);
    }
    times.sort_unstable();
    let planned: Vec<u128> = (0..10).map(|n| n * 200).collect();
    for (at, planned) in times.iter().zip(planned) {
        assert!((planned..planned + 20).contains(at), "{times:?}");
    }
    for connection in &connections {
        let ending = ended(&supervisor, connection).await;
        let outcome = &ending.outcome;
        assert_eq!((outcome.kind, outcome.cause), (Kind::Clean, Cause::Drain));
        assert_eq!(outcome.fault, Fault::Operator);
        assert_eq!(outcome.by, Some(Requester::Drain("7".into())));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_still_open_at_the_deadline_is_cut_off() {
    let supervisor = supervisor().await;
    let (connections, mut peers) = open(&supervisor, 6).await;
    let silent = peers.split_off(3);
    for mut peer in peers {
        tokio::spawn(async move {
            peer.expect_close().await;
            peer.send(Frame::close(1012, "")).await;
        });
    }
    let report = soon("the drain", supervisor.drain(drain(5, 1))).await;
    assert_eq!((report.asked, report.cut), (6, 3));
    assert_eq!(report.took.as_secs(), 5);
    for connection in &connections[..3] {
        assert!(ended(&supervisor, connection).await.is_clean());
    }
    for connection in &connections[3..] {
        let outcome = &ended(&supervisor, connection).await.outcome;
        assert_eq!((outcome.kind, outcome.fault), (Kind::DrainDeadline, Fault::Operator));
        assert_eq!((outcome.first_close, outcome.cause), (FirstClose::Local, Cause::Drain));
        assert_eq!(outcome.state, Some(CloseState::CloseSent));
    }
    for mut peer in silent {
        assert_eq!(peer.rest().await.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_without_connections_is_over_at_once() {
    let supervisor = supervisor().await;
    let report = soon("the drain", supervisor.drain(drain(60, 30))).await;
    assert_eq!((report.asked, report.cut, report.took), (0, 0, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_drain_also_closes_who_comes_while_it_is_at_work() {
    let supervisor = supervisor().await;
    let (_connections, mut peers) = open(&supervisor, 1).await;
    let draining = supervisor.drain(drain(60, 0));
    let late = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (connection, _messages, mut peer) =
            piped(&supervisor, Role::Server, 1024, settings(|_| {})).await;
        peer.expect_close().await;
        peer.send(Frame::close(1012, "")).await;
        peers[0].send(Frame::close(1012, "")).await;
        connection
    };
    let (report, connection) = tokio::join!(draining, late);
    assert_eq!((report.asked, report.cut), (2, 0));
    assert_eq!(ended(&supervisor, &connection).await.outcome.cause, Cause::Drain);
}

#[tokio::test]
async fn abort_all_resets_every_connection() {
    let supervisor = supervisor().await;
    let mut peers = Vec::new();
    let mut connections = Vec::new();
    for _ in 0..5 {
        let (adopt, peer) = socket(Role::Server, settings(|_| {})).await;
        connections.push(supervisor.adopt(adopt, Backend::echo()).await.unwrap());
        peers.push(peer);
    }
    supervisor.abort_all(Some(Requester::Signal("TERM")));
    for mut peer in peers {
        assert_eq!(peer.expect_end(SOON).await, End::Reset);
    }
    for connection in &connections {
        let ending = ended(&supervisor, connection).await;
        let outcome = &ending.outcome;
        assert_eq!((outcome.kind, outcome.cause), (Kind::Aborted, Cause::Drain));
        assert_eq!((sent_code(&ending), outcome.fault), (None, Fault::Operator));
        assert_eq!(outcome.by, Some(Requester::Signal("TERM")));
    }
}

fn unused_connection() -> Adopt {
    Adopt::new(Role::Server, tokio::io::duplex(64).0)
}

#[tokio::test(start_paused = true)]
async fn after_a_shutdown_nothing_is_adopted() {
    let supervisor = supervisor().await;
    let (connections, mut peers) = open(&supervisor, 2).await;
    let report = soon("the shutdown", supervisor.shutdown(drain(1, 0))).await;
    assert_eq!(report.cut, 2);
    for connection in &connections {
        assert_eq!(connection.ending().unwrap().outcome.kind, Kind::DrainDeadline);
    }
    for peer in &mut peers {
        assert_eq!(peer.rest().await.first().unwrap().opcode, CLOSE);
    }
    assert_eq!(supervisor.adopt(unused_connection(), Backend::echo()).await.unwrap_err(), ShutDown);
    assert_eq!(supervisor.adopt_receiving(unused_connection()).await.unwrap_err(), ShutDown);
    // A second call is harmless.
    soon("the second shutdown", supervisor.shutdown(drain(1, 0))).await;
    assert!(supervisor.accounting().balances());
}

#[tokio::test]
async fn dropping_the_last_clone_aborts_what_is_open() {
    let supervisor = supervisor().await;
    let clone = supervisor.clone();
    let mut endings = supervisor.endings();
    let (adopt, mut peer) = socket(Role::Server, settings(|_| {})).await;
    let connection = supervisor.adopt(adopt, Backend::echo()).await.unwrap();
    drop(supervisor);
    peer.text("still there").await;
    peer.expect_text("still there").await;
    drop(clone);
    assert_eq!(peer.expect_end(SOON).await, End::Reset);
    let ending = soon("the ending", connection.ended()).await;
    assert_eq!((ending.outcome.kind, ending.outcome.cause), (Kind::Aborted, Cause::Embedder));
    assert_eq!(soon("the ending", endings.next()).await.unwrap().unwrap().id, ending.id);
    assert!(soon("the end of the endings", endings.next()).await.is_none());
}
