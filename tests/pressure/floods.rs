//! Clients that send frames without end, half of which read what comes back.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::clients::open;
use super::stage::{Setup, Stage};
use super::{duration, size};
use crate::support::frame::{Frame, Side};

/// Sends `begin`, and then `frames` for as long as they are taken.
async fn send(mut stream: TcpStream, begin: &[u8], frames: &[u8], reads: bool, until: Instant) {
    if stream.write_all(begin).await.is_err() {
        return;
    }
    let (mut incoming, mut outgoing) = stream.split();
    let sending = async { while outgoing.write_all(frames).await.is_ok() {} };
    let reading = async {
        let mut buffer = vec![0; 65_536];
        while reads && incoming.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        if !reads {
            std::future::pending::<()>().await;
        }
    };
    let _ = timeout_at(until, async {
        tokio::select! {
            () = sending => {},
            () = reading => {},
        }
    })
    .await;
}

async fn flood(attack: &str, begin: Option<Frame>, frame: Frame) {
    let clients = size(10, 50);
    let stage = Stage::start(Setup::default()).await;
    let begin: &'static [u8] =
        begin.map(|frame| frame.encode(Side::Client)).unwrap_or_default().leak();
    let bytes = frame.encode(Side::Client).len();
    let frames: &'static [u8] = frame.encode(Side::Client).repeat(4096).leak();
    let run = async |daemon: &crate::support::daemon::Daemon| {
        let (to, until) = (daemon.listener(), Instant::now() + duration());
        let mut here = JoinSet::new();
        for client in 0..clients {
            here.spawn(async move {
                while let Some(stream) = open(to, client).await {
                    send(stream, begin, frames, client % 2 == 0, until).await;
                    if Instant::now() >= until {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
        }
        while here.join_next().await.is_some() {}
        format!("{clients} clients send frames of {bytes} bytes without end; half of them read")
    };
    stage.under(attack, clients as u64, run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings() {
    flood("a flood of Pings", None, Frame::ping([])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_frames() {
    flood("a flood of empty messages", None, Frame::text("")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tiny_fragments() {
    let begin = Frame::binary([1]).unfinished();
    let fragment = Frame::continuation([1]).unfinished();
    flood("a flood of fragments of one byte", Some(begin), fragment).await;
}
