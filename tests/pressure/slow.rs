//! Clients that do not read, or hardly, and what others notice of it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::account::thousands;
use super::clients::{connect, connect_narrow, gather, upgrade};
use super::stage::{Setup, Stage};
use super::{duration, size};
use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::frame::{Frame, Side};
use crate::support::http::exchange;

/// What is broadcast: 4 KiB, four times a second, or as often as it takes in the short form.
const MESSAGE: usize = 4 << 10;

fn every() -> Duration {
    size(Duration::from_millis(15), Duration::from_millis(250))
}

/// Sends a message to all, again and again; returns how often.
async fn broadcast(control: SocketAddr, lasts: Duration) -> u64 {
    let body = format!(r#"{{"text":"{}","select":{{"route":"heard"}}}}"#, "x".repeat(MESSAGE));
    let request = format!(
        "POST /v1/broadcast HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let until = Instant::now() + lasts;
    let mut ticks = tokio::time::interval(every());
    let mut count = 0;
    while Instant::now() < until {
        ticks.tick().await;
        let answer = exchange(control, &request, Duration::from_secs(20)).await;
        assert_eq!(answer.head.status(), 200, "{answer:?}");
        count += 1;
    }
    count
}

/// Reads whatever comes.
async fn read(mut stream: TcpStream) {
    let mut buffer = vec![0; 8192];
    while let Ok(1..) = stream.read(&mut buffer).await {}
}

/// Some of many never read what is broadcast, with this `on_full`.
async fn broadcasts(on_full: &str) {
    let (clients, slow) = (size(180, 4500), size(20, 500));
    let setting = format!("limits.on_full=\"{on_full}\"");
    // The bystander must not get what is broadcast: it expects echoes.
    let routes = [
        r#"routes=[{name="quiet",path="/echo",backend={kind="echo"}},{name="heard",path="/heard",backend={kind="echo"}}]"#,
        "limits.outbox_bytes=\"32KiB\"",
        size("limits.write_timeout=\"300ms\"", "limits.write_timeout=\"2s\""),
        &setting,
    ];
    let stage = Stage::start(Setup::with(&routes)).await;
    let to = stage.address();
    let mut readers = JoinSet::new();
    for reader in gather(clients, move |client| heard(to, client, false)).await {
        readers.spawn(read(reader));
    }
    assert_eq!(readers.len(), clients);
    let control = stage.daemon.control();
    // What leaves before a timeout leaves, so there are five of them or so.
    let lasts = size(Duration::from_millis(900), Duration::from_secs(12));
    let watch = stage.watch("slow consumers").await;
    watch.without(broadcast(control, lasts)).await;
    let run = async |daemon: &Daemon| {
        let silent = gather(slow, move |client| heard(to, 10_000 + client, true)).await;
        assert_eq!(silent.len(), slow);
        let mut times = broadcast(control, lasts).await;
        let deadline = Instant::now() + 4 * SOON;
        while daemon.endings().len() < slow && Instant::now() < deadline {
            times += broadcast(control, every()).await;
        }
        let all = thousands((clients + slow) as u64);
        format!("{slow} of {all} never read {times} broadcasts of 4 KiB; `on_full` `{on_full}`")
    };
    let account = watch.during((clients + slow) as u64, run).await;
    assert_eq!(account.kinds.get("slow_consumer"), Some(&(slow as u64)), "{account:?}");
    drop(readers);
}

async fn heard(to: SocketAddr, client: usize, narrow: bool) -> Option<TcpStream> {
    let stream = match narrow {
        true => connect_narrow(to, client).await?,
        false => connect(to, client).await?,
    };
    upgrade(stream, "/heard").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broadcasts_that_are_refused() {
    broadcasts("refuse").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broadcasts_that_close() {
    broadcasts("close").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broadcasts_that_drop_the_oldest() {
    broadcasts("drop_oldest").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broadcasts_that_drop_the_newest() {
    broadcasts("drop_newest").await;
}

/// Clients that send these frames for as long as they are taken, and read a byte each second, or
/// nothing.
async fn greedy(what: &str, frame: Frame, reads: bool) {
    let clients = size(5, 50);
    let timeout = size("300ms", "1s");
    let setting = format!("limits.write_timeout=\"{timeout}\"");
    let stage = Stage::start(Setup::with(&[&setting])).await;
    let frames: &'static [u8] = frame.encode(Side::Client).repeat(64).leak();
    let run = async |daemon: &Daemon| {
        let (to, until) = (daemon.listener(), Instant::now() + size(2, 1) * duration());
        let mut here = JoinSet::new();
        for client in 0..clients {
            here.spawn(async move {
                let stream = connect_narrow(to, client).await?;
                let stream = upgrade(stream, "/echo").await?;
                let (mut incoming, mut outgoing) = stream.into_split();
                let sending = async { while outgoing.write_all(frames).await.is_ok() {} };
                let reading = async {
                    while reads && incoming.read_u8().await.is_ok() {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                    std::future::pending::<()>().await;
                };
                let both = async {
                    tokio::select! {
                        () = sending => {},
                        () = reading => {},
                    }
                };
                timeout_at(until, both).await.ok()
            });
        }
        while here.join_next().await.is_some() {}
        format!("{clients} clients {what}; `write_timeout` {timeout}")
    };
    let account = stage.under("slow consumers", clients as u64, run).await;
    assert_eq!(account.kinds.get("slow_consumer"), Some(&(clients as u64)), "{account:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_ping_and_never_read() {
    greedy("send Pings of 125 bytes and never read", Frame::ping(vec![7; 125]), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_read_a_byte_a_second() {
    greedy("send 4 KiB messages and read a byte a second", Frame::binary(vec![7; 4096]), true)
        .await;
}
