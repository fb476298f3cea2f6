//! Clients that want the daemon's memory.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::clients::{crowd, open};
use super::stage::{Setup, Stage};
use super::{MIB, duration, size};
use crate::support::frame::{Frame, LengthForm, Side};

/// Clients that send a message of this size but for its last byte, as far as it is taken, and come
/// again when they are closed.
async fn half_messages(to: SocketAddr, clients: usize, lasts: Duration) {
    let message: &'static [u8] = Frame::binary(vec![1; MIB as usize]).encode(Side::Client).leak();
    let until = tokio::time::Instant::now() + lasts;
    let mut here = JoinSet::new();
    for client in 0..clients {
        here.spawn(async move {
            while tokio::time::Instant::now() < until {
                let Some(mut stream) = open(to, client).await else {
                    // Refused, as it should be: it comes back soon.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                };
                let rest = async {
                    stream.write_all(&message[..message.len() - 1]).await?;
                    stream.readable().await
                };
                let _ = timeout_at(until, rest).await;
            }
        });
        // So that no SYN has to be sent again.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    while here.join_next().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_messages_stay_within_the_memory() {
    let (clients, memory) = (size(100, 1500), size(8, 32) * MIB);
    let stage = Stage::start(Setup { memory, ..Setup::default() }).await;
    let attack = async |daemon: &_| {
        half_messages(listener(daemon), clients, duration()).await;
        format!("{clients} clients send 1 MiB less a byte, and come again")
    };
    stage.under("half messages", clients as u64, attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_messages_stay_within_the_memory_that_is_shipped() {
    let clients = size(15, 1500);
    let stage = Stage::start(Setup { memory: 0, ..Setup::default() }).await;
    let attack = async |daemon: &_| {
        half_messages(listener(daemon), clients, duration()).await;
        "the same, with `limits.memory` as shipped (60 % of the cgroup)".to_owned()
    };
    stage.under("half messages", clients as u64, attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_messages_stay_within_an_address_space() {
    let clients = size(15, 1500);
    let prelude = "ulimit -v 524288".to_owned();
    let stage = Stage::start(Setup { prelude, ..Setup::default() }).await;
    let reserved = stage.address_space();
    assert!(reserved < 384 * MIB, "{reserved} bytes of it are taken at the start");
    let attack = async |daemon: &_| {
        half_messages(listener(daemon), clients, duration()).await;
        "the same, in an address space of 512 MiB (`ulimit -v`)".to_owned()
    };
    stage.under("half messages", clients as u64, attack).await;
}

/// The payload of a message of 16 MiB that is announced, and hardly sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_announced_message_takes_no_memory_before_it_comes() {
    let clients = size(200, 4000);
    let settings = ["limits.max_message_size=\"16MiB\"", "limits.message_timeout=\"3s\""];
    // Several times the size of a message is what a configuration has to have.
    let stage = Stage::start(Setup { memory: 64 * MIB, ..Setup::with(&settings) }).await;
    let attack = async |daemon: &_| {
        let to = listener(daemon);
        crowd(clients, duration(), move |client| async move {
            let mut stream = open(to, client).await?;
            let header = Frame::binary([]).header(Side::Client, 16 << 20, LengthForm::Minimal);
            stream.write_all(&[&header[..], &[7; 1000]].concat()).await.ok()?;
            Some(stream)
        })
        .await;
        format!("{clients} clients announce 16 MiB and send 1,000 bytes of them")
    };
    stage.under("16 MiB announced and not sent", clients as u64, attack).await;
}

pub(super) fn listener(daemon: &crate::support::daemon::Daemon) -> SocketAddr {
    daemon.listener()
}
