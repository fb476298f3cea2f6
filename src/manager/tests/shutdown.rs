//! Shutdown of the supervisor: every connection gets its ending.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::bench::{Bench, Peer, eventually, soon};
use crate::actor::backend::Backend;
use crate::connection::handle::{ConnectionHandle, SendError};
use crate::draining::options::DrainOptions;
use crate::protocol::closing_handshake::ReplyPolicy;
use crate::settings::ConnectionSettings;
use crate::transport::http_proxy::ClientSession;
use crate::vocabulary::{Cause, CloseFrame, CloseState, Kind, OpenFailure, Role};

async fn open(bench: &Bench, count: usize) -> (Vec<ConnectionHandle>, Vec<Peer>) {
    let (mut handles, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (peer, transport) = Peer::new(1024);
        let backend = Backend::receiver(ReplyPolicy::AtOnce);
        let settings = ConnectionSettings::default();
        handles.push(bench.adopt(Role::Server, transport, backend, settings).await);
        peers.push(peer);
    }
    (handles, peers)
}

#[tokio::test]
async fn a_core_that_is_dropped_aborts_its_connections() {
    let bench = Bench::new().await;
    let (handles, mut peers) = open(&bench, 20).await;
    let ledger = Arc::clone(&bench.ledger);
    drop(bench);
    for handle in &handles {
        let ending = soon("an ending", handle.ended()).await;
        assert_eq!((ending.outcome.kind, ending.outcome.cause), (Kind::Aborted, Cause::Embedder));
    }
    for peer in &mut peers {
        assert!(peer.read_to_end().await.is_empty());
    }
    assert_eq!(ledger.kept().len(), 20);
}

#[tokio::test]
async fn a_shutdown_right_behind_an_abort_of_all_asks_for_no_close() {
    let bench = Bench::new().await;
    let (handles, mut peers) = open(&bench, 3).await;
    bench.supervisor.abort_all(None);
    assert!(!handles[0].close_with(CloseFrame::Empty, Cause::Api, None));
    assert_eq!(handles[0].try_send("late").unwrap_err().error, SendError::Ending);
    let options = DrainOptions { within: Duration::ZERO, ..DrainOptions::default() };
    soon("the shutdown", bench.supervisor.shutdown(options)).await;
    for handle in &handles {
        let outcome = &handle.ending().unwrap().outcome;
        assert_eq!((outcome.kind, outcome.cause), (Kind::Aborted, Cause::Drain));
        assert_eq!((outcome.state, &outcome.close_sent), (Some(CloseState::Open), &None));
    }
    for peer in &mut peers {
        assert!(peer.read_to_end().await.is_empty());
    }
}

#[tokio::test]
async fn a_supervisor_that_dies_leaves_no_connection_without_an_ending() {
    for kill in [true, false] {
        let bench = Bench::new().await;
        let (handles, mut peers) = open(&bench, 20).await;
        match kill {
            true => bench.supervisor.inner.node.supervisor.kill(),
            false => bench.supervisor.inner.node.supervisor.stop(None),
        }
        soon("the end to be seen", bench.supervisor.gone()).await;
        for handle in &handles {
            let ending = soon("an ending", handle.ended()).await;
            assert_eq!(ending.outcome.kind, Kind::ActorFailed);
        }
        for peer in &mut peers {
            peer.read_to_end().await;
        }
        let accounting = bench.supervisor.accounting();
        assert_eq!((accounting.open, accounting.ended), (0, 20));
        eventually("no memory charged", || bench.used() == 0).await;
    }
}

#[tokio::test]
async fn stopping_ends_what_a_drain_has_left_and_records_what_comes_too_late() {
    let bench = Bench::new().await;
    let (handles, _peers) = open(&bench, 3).await;
    let options = DrainOptions { within: Duration::ZERO, ..DrainOptions::default() };
    let report = soon("the drain", bench.supervisor.drain(options)).await;
    assert_eq!(report.cut, 3);
    soon("the supervisor to stop", bench.supervisor.stop()).await;
    for handle in &handles {
        assert_eq!(handle.ending().unwrap().outcome.kind, Kind::DrainDeadline);
    }
    let (_peer, transport) = Peer::new(64);
    let adoption = crate::node::adoption::Adoption {
        id: crate::vocabulary::ConnectionId::new(),
        transport: Box::new(transport),
        read_ahead: bytes::Bytes::new(),
        role: Role::Server,
        origin: handles[0].origin().clone(),
        settings: Default::default(),
        backend: Backend::echo(),
        grant: None,
        replacing: crate::node::subjects::Replacing::default(),
        slot: None,
    };
    assert!(bench.supervisor.inner.node.adopt(adoption).await.is_err());
    let refused = Kind::OpenFailed(OpenFailure::RefusedDraining);
    let kept = || bench.ledger.kept();
    eventually("a record", || kept().iter().any(|e| e.outcome.kind == refused)).await;
    assert_eq!(kept().len(), 4);
}

#[test]
fn waiting_tasks_get_an_error_when_the_runtime_is_dropped() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (bench, handles, _peers) = runtime.block_on(async {
        let bench = Bench::new().await;
        let (handles, peers) = open(&bench, 5).await;
        (bench, handles, peers)
    });
    drop(runtime);
    for handle in &handles {
        assert_eq!(handle.ending().unwrap().outcome.kind, Kind::ActorFailed);
    }
    assert!(bench.supervisor.accounting().balances());
}

#[tokio::test]
async fn plain_http_that_is_cut_off_has_a_moment_for_its_last_answer() {
    let bench = Bench::new().await;
    let session = Arc::new(ClientSession::new(Duration::from_secs(60)));
    let served = bench.supervisor.inner.node.plain.enter(None, &session).unwrap();
    let options = DrainOptions { within: Duration::ZERO, ..DrainOptions::default() };
    let mut shutdown = pin!(bench.supervisor.shutdown(options));
    let early = timeout(Duration::from_millis(50), shutdown.as_mut()).await;
    assert!(early.is_err(), "it did not wait: {early:?}");
    drop(served);
    soon("the shutdown", shutdown).await;
}
