//! Opening handshakes that are bad, too large, too slow, or too many.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::account::thousands;
use super::clients::{AT_A_TIME, PATIENCE, connect, crowd};
use super::stage::{Setup, Stage};
use super::{MIB, duration, is_long, size};
use crate::support::daemon::Daemon;
use crate::support::http::upgrade_request;

/// So many requests are under way at a time.
const SENDERS: usize = 2 * AT_A_TIME;

/// Sends a request again and again, each from a socket of its own, for as long as the attack lasts;
/// returns how many were answered.
async fn requests(to: SocketAddr, request: &'static [u8]) -> u64 {
    let until = Instant::now() + duration();
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        senders.spawn(async move {
            let mut answered = 0;
            while Instant::now() < until {
                // 16 of them share an address, and take turns with further ones.
                let client = sender + (answered as usize % 32) * SENDERS;
                answered += u64::from(ask(to, client, request).await.is_some());
            }
            answered
        });
    }
    senders.join_all().await.into_iter().sum()
}

async fn ask(to: SocketAddr, client: usize, request: &[u8]) -> Option<()> {
    let mut stream = connect(to, client).await?;
    // It may be answered, and closed, before all of it was taken.
    let _ = stream.write_all(request).await;
    let mut answer = [0; 512];
    (timeout(PATIENCE, stream.read(&mut answer)).await.ok()?.ok()? > 0).then_some(())
}

/// What the log may grow by for each second of a flood: 50 attempts of some 1.5 KB, and a report.
const LOG_PER_SECOND: usize = 256 * 1024;

async fn bad_handshakes(
    attack: &str,
    settings: &[&str],
    request: String,
    what: &str,
    failure: &str,
) {
    let stage = Stage::start(Setup::with(settings)).await;
    let request: &'static [u8] = request.into_bytes().leak();
    let ledger = stage.ledger();
    let run = async |daemon: &Daemon| {
        let began = Instant::now();
        let count = requests(daemon.listener(), request).await;
        let seconds = began.elapsed().as_secs_f64();
        let log: usize = daemon.log().iter().map(String::len).sum();
        let allowed = LOG_PER_SECOND * (seconds as usize + 2);
        assert!(log <= allowed, "{attack}: {log} bytes of log in {seconds} s");
        let disk = std::fs::metadata(&ledger).unwrap().len() as f64 / MIB as f64;
        let (count, rate) = (thousands(count), thousands((count as f64 / seconds) as u64));
        format!("{count} {what}, {rate} a second; ledger {disk:.1} MiB")
    };
    let account = stage.under(attack, SENDERS as u64, run).await;
    assert!(account.failures.contains_key(failure), "{account:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_handshakes() {
    let request = upgrade_request("x", "/nowhere", "X: y\r\n");
    bad_handshakes("failed handshakes", &[], request, "requests for no route (404)", "no_route")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_handshakes_with_the_rate_that_is_shipped() {
    // A build without optimisation does not come to as many.
    let rate = size("limits.handshakes_per_second=100", "limits.handshakes_per_second=1000");
    let settings = [rate];
    let request = upgrade_request("x", "/nowhere", "");
    let what = "requests beyond `handshakes_per_second` as shipped (429)";
    bad_handshakes("failed handshakes", &settings, request, what, "refused_rate").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_bombs() {
    let lines: String = (0..size(10_000, 100_000)).map(|n| format!("X-{n}: x\r\n")).collect();
    let request = upgrade_request("x", "/echo", &lines);
    let what = "requests with 100,000 header lines, 1.2 MB each (431)";
    bad_handshakes("header bombs", &[], request, what, "bad_request").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_bombs_in_one_line() {
    let line = format!("Cookie: {}\r\n", "x".repeat(size(1 << 17, 1 << 20)));
    let request = upgrade_request("x", "/echo", &line);
    bad_handshakes(
        "header bombs",
        &[],
        request,
        "requests with a header of 1 MiB (431)",
        "bad_request",
    )
    .await;
}

/// Clients that send so many bytes of a request and do not end it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_headers() {
    let clients = size(1000, 10_000);
    let stage = Stage::start(Setup { memory: size(8, 32) * MIB, ..Setup::default() }).await;
    let mut head = b"GET /echo HTTP/1.1\r\nHost: x\r\nCookie: ".to_vec();
    head.resize(15_000, b'x');
    let head: &'static [u8] = head.leak();
    let run = async |daemon: &Daemon| {
        let to = daemon.listener();
        crowd(clients, duration(), move |client| async move {
            let mut stream = connect(to, client).await?;
            // In two parts, as it may well come.
            stream.write_all(&head[..head.len() / 2]).await.ok()?;
            tokio::task::yield_now().await;
            stream.write_all(&head[head.len() / 2..]).await.ok()?;
            Some(stream)
        })
        .await;
        format!("{} clients send 15 KB of a request and stay", thousands(clients as u64))
    };
    stage.under("unfinished headers", clients as u64, run).await;
}

/// Sends a byte of a request at a time, until it is cut off.
async fn drip(mut stream: TcpStream, every: Duration) {
    let request = upgrade_request("x", &format!("/echo?{}", "x".repeat(4_000)), "");
    for byte in request.as_bytes() {
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
        tokio::time::sleep(every).await;
    }
}

/// A byte a second each, by thousands; `from` makes a client's number of that of a socket.
async fn slowloris(attack: &str, what: &str, from: fn(usize) -> usize) {
    let sockets = size(400, 8000);
    // Long enough for the handshake to time out.
    let setting = format!("limits.handshake_timeout=\"{}s\"", size(1, 10));
    let stage = Stage::start(Setup::with(&[&setting])).await;
    let run = async |daemon: &Daemon| {
        let (to, lasts) =
            (daemon.listener(), size(Duration::from_millis(1600), Duration::from_secs(15)));
        let mut here = JoinSet::new();
        let began = Instant::now();
        for socket in 0..sockets {
            here.spawn(async move {
                let Some(stream) = connect(to, from(socket)).await else { return };
                drip(stream, size(Duration::from_millis(100), Duration::from_secs(1))).await;
            });
            if socket % AT_A_TIME == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        tokio::time::sleep(lasts.saturating_sub(began.elapsed())).await;
        here.shutdown().await;
        format!("{} sockets from {what} send a byte a second", thousands(sockets as u64))
    };
    let account = stage.under(attack, sockets as u64, run).await;
    assert!(account.failures.contains_key("handshake_timeout"), "{account:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slowloris_from_one_address() {
    slowloris("slowloris", "one address", |_| 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slowloris_from_many_addresses() {
    let what = if is_long() { "250 addresses" } else { "13 addresses" };
    slowloris("slowloris", what, |socket| socket).await;
}
