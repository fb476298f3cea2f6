//! Two hundred connections that end at once: every ending is exact, and the accounting balances at
//! every instant.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lastword::policy::drain::Pace;
use lastword::vocabulary::{Cause, ConnectionId, Kind};
use lastword::{DrainOptions, Ending, Route, Supervisor};
use tokio::task::{JoinHandle, JoinSet};

use super::stage::{House, patient, soon};
use crate::support::raw_peer::{End, RawPeer};

const CROWD: usize = 200;

/// How long the whole of a crowd may take on a slow and busy machine.
const LONG: Duration = Duration::from_secs(30);

/// Reads the accounting as often as it can, until it is stopped.
struct Auditor {
    task: JoinHandle<u64>,
    stop: Arc<AtomicBool>,
}

impl Auditor {
    fn start(supervisor: &Supervisor) -> Self {
        let (supervisor, stop) = (supervisor.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut samples = 0;
            while !stopped.load(Ordering::Relaxed) {
                let accounting = supervisor.accounting();
                assert!(accounting.balances(), "after {samples} samples: {accounting:?}");
                samples += 1;
                tokio::task::yield_now().await;
            }
            samples
        });
        Self { task, stop }
    }

    async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let samples = soon("the auditor", self.task).await.unwrap();
        assert!(samples > 0);
    }
}

struct Crowd {
    house: House,
    auditor: Auditor,
    peers: Vec<RawPeer>,
}

impl Crowd {
    async fn gather() -> Self {
        let route = Route::echo("/echo").unwrap().with_settings(patient());
        let house = House::open(Supervisor::builder(), vec![route]).await;
        let auditor = Auditor::start(&house.supervisor);
        let address = house.address;
        let peers = all((0..CROWD).map(|_| RawPeer::connect(address, "/echo"))).await;
        let mut crowd = Self { house, auditor, peers };
        // An echo says that the connection is open on this end too.
        let peers = std::mem::take(&mut crowd.peers);
        crowd.peers = all(peers.into_iter().map(|mut peer| async move {
            peer.text("here").await;
            peer.expect_text("here").await;
            peer
        }))
        .await;
        let accounting = crowd.house.supervisor.accounting();
        assert_eq!((accounting.opened, accounting.open, accounting.ended), (200, 200, 0));
        crowd
    }

    /// Waits for as many endings as there were connections; asserts that there is one for each.
    async fn endings(mut self, ids: &HashSet<ConnectionId>) -> Vec<Arc<Ending>> {
        let mut endings = vec![];
        for _ in 0..CROWD {
            endings.push(self.house.next_ending().await);
        }
        self.auditor.finish().await;
        let accounting = self.house.supervisor.accounting();
        assert_eq!((accounting.opened, accounting.open, accounting.ended), (200, 0, 200));
        let ended: HashSet<_> = endings.iter().map(|ending| ending.id).collect();
        assert_eq!(&ended, ids, "one ending for each");
        endings
    }

    fn ids(&self) -> HashSet<ConnectionId> {
        self.house.supervisor.connections().iter().map(|connection| connection.id()).collect()
    }
}

/// Does all of it at once.
async fn all<T: Send + 'static>(
    work: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let tasks: JoinSet<T> = work.collect();
    tokio::time::timeout(LONG, tasks.join_all()).await.unwrap()
}

fn kinds(endings: &[Arc<Ending>]) -> HashMap<Kind, usize> {
    let mut kinds = HashMap::new();
    for ending in endings {
        *kinds.entry(ending.outcome.kind).or_default() += 1;
    }
    kinds
}

/// Answers this end's Close and sees FIN behind it.
async fn answer(mut peer: RawPeer) -> Option<u16> {
    let (code, reason) = peer.expect_close(LONG).await;
    peer.close(code.unwrap(), &reason).await;
    assert_eq!(peer.expect_end(LONG).await, End::Fin);
    code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_close_cleanly_at_once() {
    let mut crowd = Crowd::gather().await;
    let ids = crowd.ids();
    let peers = std::mem::take(&mut crowd.peers);
    all(peers.into_iter().map(|mut peer| async move {
        peer.close(1000, "bye").await;
        assert_eq!(peer.expect_close(LONG).await, (Some(1000), "bye".to_owned()));
        assert_eq!(peer.expect_end(LONG).await, End::Fin);
    }))
    .await;
    let endings = crowd.endings(&ids).await;
    assert_eq!(kinds(&endings), HashMap::from([(Kind::Clean, CROWD)]));
    assert!(endings.iter().all(|ending| ending.outcome.cause == Cause::Peer));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_are_cut_at_once() {
    let mut crowd = Crowd::gather().await;
    let ids = crowd.ids();
    for (nth, peer) in std::mem::take(&mut crowd.peers).into_iter().enumerate() {
        if nth % 2 == 0 { peer.reset() } else { drop(peer) }
    }
    let endings = crowd.endings(&ids).await;
    let awaited = [(Kind::ConnectionReset, CROWD / 2), (Kind::ClosedPrematurely, CROWD / 2)];
    assert_eq!(kinds(&endings), HashMap::from(awaited));
    assert!(endings.iter().all(|ending| ending.outcome.close_code() == Some(1006)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_are_closed_by_us() {
    let mut crowd = Crowd::gather().await;
    let ids = crowd.ids();
    let peers = std::mem::take(&mut crowd.peers);
    for connection in crowd.house.supervisor.connections() {
        connection.close_output(1000, "bye").unwrap();
    }
    let codes = all(peers.into_iter().map(answer)).await;
    assert_eq!(codes, vec![Some(1000); CROWD]);
    let endings = crowd.endings(&ids).await;
    assert_eq!(kinds(&endings), HashMap::from([(Kind::Clean, CROWD)]));
    assert!(endings.iter().all(|ending| ending.outcome.cause == Cause::Embedder));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_are_drained() {
    let mut crowd = Crowd::gather().await;
    let ids = crowd.ids();
    let peers = std::mem::take(&mut crowd.peers);
    let options =
        DrainOptions { within: LONG, pace: Pace::Over(Duration::ZERO), ..Default::default() };
    let supervisor = crowd.house.supervisor.clone();
    let (report, codes) =
        tokio::join!(supervisor.drain(options), all(peers.into_iter().map(answer)));
    assert_eq!((report.asked, report.cut), (CROWD, 0));
    assert_eq!(codes, vec![Some(1012); CROWD]);
    let endings = crowd.endings(&ids).await;
    assert_eq!(kinds(&endings), HashMap::from([(Kind::Clean, CROWD)]));
    assert!(endings.iter().all(|ending| ending.outcome.cause == Cause::Drain));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_close_while_we_close_them() {
    let mut crowd = Crowd::gather().await;
    let ids = crowd.ids();
    let peers = std::mem::take(&mut crowd.peers);
    let ours = crowd.house.supervisor.connections();
    let theirs = all(peers.into_iter().map(|mut peer| async move {
        peer.close(1001, "theirs").await;
        let (code, _) = peer.expect_close(LONG).await;
        assert_eq!(peer.expect_end(LONG).await, End::Fin);
        code
    }));
    let (codes, ()) = tokio::join!(theirs, async {
        for connection in ours {
            // Those that ended before have their ending; it sends no second frame.
            connection.close_output(1000, "ours").unwrap();
            tokio::task::yield_now().await;
        }
    });
    assert!(codes.iter().all(|code| matches!(code, Some(1000 | 1001))));
    let endings = crowd.endings(&ids).await;
    assert_eq!(kinds(&endings), HashMap::from([(Kind::Clean, CROWD)]));
    assert!(endings.iter().all(|ending| ending.outcome.close_code() == Some(1001)));
}
