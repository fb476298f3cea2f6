//! Many dialers against one server that comes and goes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lastword::vocabulary::DialerPhase;
use lastword::{DialerHandle, Supervisor};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use super::stage::options;

/// A server that takes note of when it was dialled.
struct Server {
    tasks: JoinSet<()>,
    dialled: Arc<Mutex<Vec<Instant>>>,
}

impl Server {
    fn start(address: SocketAddr) -> (Self, SocketAddr) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(1024).unwrap();
        let address = listener.local_addr().unwrap();
        let dialled: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let mut tasks = JoinSet::new();
        let noted = Arc::clone(&dialled);
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                noted.lock().unwrap().push(Instant::now());
                // Gone with the server: reset, as by a machine that loses power.
                socket.set_zero_linger().unwrap();
                open.spawn(async move {
                    if let Ok(mut socket) = tokio_tungstenite::accept_async(socket).await {
                        while socket.next().await.is_some_and(|read| read.is_ok()) {}
                    }
                });
            }
        });
        (Self { tasks, dialled }, address)
    }

    async fn stop(mut self) -> Vec<Instant> {
        self.tasks.shutdown().await;
        std::mem::take(&mut *self.dialled.lock().unwrap())
    }
}

/// The most dials within any second.
fn busiest_second(dialled: &[Instant]) -> usize {
    let within = |from: Instant| {
        dialled.iter().filter(|at| **at >= from && **at < from + Duration::from_secs(1)).count()
    };
    dialled.iter().map(|from| within(*from)).max().unwrap_or(0)
}

async fn all_ready(dialers: &[DialerHandle], within: Duration) -> Duration {
    let began = Instant::now();
    for dialer in dialers {
        let ready = dialer.wait_for(|status| status.phase == DialerPhase::Ready);
        let left = within.saturating_sub(began.elapsed());
        let ready = tokio::time::timeout(left, ready).await;
        assert!(ready.is_ok(), "not ready within {within:?}: {:?}", dialer.status());
    }
    began.elapsed()
}

async fn none_ready(dialers: &[DialerHandle]) {
    for dialer in dialers {
        let down = dialer.wait_for(|status| status.phase != DialerPhase::Ready);
        assert!(tokio::time::timeout(Duration::from_secs(30), down).await.is_ok());
    }
}

/// Resident memory, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Takes the server away and brings it back, some times.
#[allow(clippy::print_stdout)]
async fn come_and_go(crowd: usize, budget: usize, rounds: usize) {
    let supervisor = Supervisor::builder().dials_per_second(budget as u64).start().await.unwrap();
    let (mut server, address) = Server::start("127.0.0.1:0".parse().unwrap());
    let url = format!("ws://{address}/stream");
    let dialers: Vec<DialerHandle> = (0..crowd)
        .map(|n| {
            let mut options = options(&format!("feed-{n}"), &url);
            options.dialer.reconnect.min = Duration::from_millis(100);
            options.dialer.reconnect.max = Duration::from_secs(2);
            supervisor.keep(options).unwrap()
        })
        .collect();
    // The longest wait, then all of them in their turns; while the server is away, dials that are
    // refused take turns, too.
    let bound = Duration::from_secs(12) + Duration::from_secs((2 * crowd / budget) as u64);
    let mut memory = Vec::new();
    for round in 0..rounds {
        let took = all_ready(&dialers, bound).await;
        memory.push(resident());
        let accounting = supervisor.accounting();
        assert!(accounting.balances(), "{accounting:?}");
        assert_eq!(accounting.open, crowd as u64);
        let dialled = server.stop().await;
        let busiest = busiest_second(&dialled);
        println!(
            "round {round}: {crowd} ready after {took:?}, busiest second {busiest} dials, {} KiB",
            memory[round]
        );
        // The server sees what the scheduler made of the spacing.
        assert!(busiest <= budget + budget / 10 + 2, "{busiest} dials within a second");
        none_ready(&dialers).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        (server, _) = Server::start(address);
    }
    all_ready(&dialers, bound).await;
    let status = dialers[0].status();
    assert_eq!((status.opened, status.gaps), (rounds as u64 + 1, rounds as u64));
    // The first round fills the allocator; from then on it stays.
    if let [_, second, .., last] = *memory {
        assert!(last < second + second / 5 + 4096, "memory grows: {memory:?} KiB");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_and_goes_is_dialled_within_the_budget() {
    come_and_go(100, 100, 2).await;
}

/// `cargo test --release --test dialers -- --ignored --nocapture a_thousand`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some minutes"]
async fn a_thousand_dialers_are_no_storm() {
    come_and_go(1000, 50, 4).await;
}
