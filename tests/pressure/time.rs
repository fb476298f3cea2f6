//! A daemon that was stopped for a while, and one whose clock jumps.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::account::thousands;
use super::clients::{connect, gather, upgrade};
use super::size;
use super::stage::{Setup, Stage};
use crate::support::daemon::Daemon;
use crate::support::frame::{CLOSE, Frame, Masking, PING, Side, take_frame};
use crate::support::skip;

/// Answers Pings, and a Close at last.
pub(super) async fn live(stream: TcpStream) {
    live_and_count(stream, &AtomicUsize::new(0)).await;
}

/// Does the same, and counts the Pings.
async fn live_and_count(mut stream: TcpStream, pings: &AtomicUsize) {
    let mut buffer = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut buffer).await {
        while let Some(frame) = take_frame(&mut buffer) {
            let is_close = frame.opcode == CLOSE;
            let answer = match frame.opcode {
                PING => {
                    pings.fetch_add(1, Ordering::Relaxed);
                    Frame::pong(frame.payload)
                }
                CLOSE => frame,
                _ => continue,
            };
            let answer = Frame { masking: Masking::AsDue, ..answer }.encode(Side::Client);
            if stream.write_all(&answer).await.is_err() || is_close {
                return;
            }
        }
    }
}

/// The bystander's route has no Pings, the other has them.
fn with_pings(interval: &str, timeout: &str) -> String {
    format!(
        r#"routes=[{{name="quiet",path="/echo",backend={{kind="echo"}}}},{{name="alive",path="/alive",keepalive={{ping_interval="{interval}",pong_timeout="{timeout}"}},backend={{kind="echo"}}}}]"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_for_a_while() {
    let clients = size(100, 1000);
    let sleep = size(Duration::from_millis(1500), Duration::from_secs(15));
    let routes = size(with_pings("300ms", "700ms"), with_pings("3s", "3s"));
    let patience = sleep + Duration::from_secs(4);
    let stage = Stage::start(Setup { patience, ..Setup::with(&[&routes]) }).await;
    let to = stage.address();
    let mut here = JoinSet::new();
    let arrive = move |client| async move { upgrade(connect(to, client).await?, "/alive").await };
    for stream in gather(clients, arrive).await {
        here.spawn(live(stream));
    }
    assert_eq!(here.len(), clients);
    let run = async |daemon: &Daemon| {
        daemon.signal("STOP").await;
        tokio::time::sleep(sleep).await;
        daemon.signal("CONT").await;
        // Those that were silent would be given up by now.
        tokio::time::sleep(size(Duration::from_millis(1100), Duration::from_secs(8))).await;
        assert_eq!(daemon.endings(), [] as [Value; 0]);
        let (clients, seconds) = (thousands(clients as u64), sleep.as_secs());
        format!(
            "{clients} connections, with Pings every 3 s, and SIGSTOP for {seconds} s; nobody is \
             declared dead"
        )
    };
    let account = stage.under("SIGSTOP", clients as u64, run).await;
    assert_eq!(account.ended(), 0, "{account:?}");
    drop(here);
}

/// Where Debian has libfaketime.
const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps() {
    let Some(library) = FAKETIME.into_iter().find(|path| Path::new(path).exists()) else {
        return skip(
            "the clock jumps",
            "libfaketime is not installed (apt-get install libfaketime)",
        );
    };
    let clients = size(20, 200);
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    std::fs::write(&clock, "+0").unwrap();
    let prelude = format!(
        "export LD_PRELOAD={library} FAKETIME_TIMESTAMP_FILE={} FAKETIME_NO_CACHE=1 \
         FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1",
        clock.display()
    );
    let routes = with_pings("500ms", "1s");
    let stage = Stage::start(Setup { prelude, ..Setup::with(&[&routes]) }).await;
    let run = async |daemon: &Daemon| {
        let to = daemon.listener();
        let mut here = JoinSet::new();
        let pings = Arc::new(AtomicUsize::new(0));
        for (n, offset) in ["+0", "+3600", "-3600", "+0"].into_iter().enumerate() {
            std::fs::write(&clock, offset).unwrap();
            let arrive = move |client| async move {
                upgrade(connect(to, n * clients + client).await?, "/alive").await
            };
            for stream in gather(clients, arrive).await {
                let pings = Arc::clone(&pings);
                here.spawn(async move { live_and_count(stream, &pings).await });
            }
            let before = pings.load(Ordering::Relaxed);
            tokio::time::sleep(size(Duration::from_millis(700), Duration::from_secs(3))).await;
            assert_eq!(daemon.endings(), [] as [Value; 0], "at {offset}");
            let came = pings.load(Ordering::Relaxed) - before;
            assert!(came >= clients, "at {offset}: {came} Pings");
        }
        here.shutdown().await;
        // RST, where a Ping was not read yet.
        let gone = |ending: &Value| {
            ["closed_prematurely", "connection_reset"].contains(&ending["kind"].as_str().unwrap())
        };
        let endings = daemon.await_endings(4 * clients, gone, Duration::from_secs(20)).await;
        let longest = endings.iter().map(|ending| ending["open_ms"].as_u64().unwrap()).max();
        assert!(longest < Some(60_000), "an hour that was not: {longest:?} ms");
        let clients = thousands(4 * clients as u64);
        format!(
            "{clients} connections come while the clock goes an hour ahead, two back and one \
             ahead; nobody is declared dead, and `open_ms` is right"
        )
    };
    let account = stage.under("the clock jumps", 4 * clients as u64, run).await;
    assert_eq!(account.ended(), 4 * clients as u64, "{account:?}");
}
