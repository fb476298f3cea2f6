//! One budget for all queues: spent, it refuses, and nobody waits for ever.

use std::time::Duration;

use lastword::vocabulary::{Kind, Role};
use lastword::{Adopt, Backend, SendError, Supervisor};

use super::stage::{ended, piped, piped_to, settings};
use crate::support::frame::{Frame, Side};
use crate::support::raw_peer::RawPeer;

#[tokio::test(start_paused = true)]
async fn spent_memory_refuses_and_a_send_that_waits_goes_on_when_there_is_some() {
    let supervisor = Supervisor::builder().memory(64 * 1024).start().await.unwrap();
    let close_on_full = settings(|s| s.limits.on_full = lastword::config::OnFull::Close);
    let (hog, _hogged, _silent) = piped(&supervisor, Role::Server, 64, settings(|_| {})).await;
    let (other, _messages, mut peer) =
        piped(&supervisor, Role::Server, 64 * 1024, close_on_full).await;
    hog.send(vec![0; 60 * 1024]).await.unwrap();
    let refused = other.try_send(vec![0; 8 * 1024]).unwrap_err();
    assert!(matches!(refused.error, SendError::Full { limit: 65_536, .. }), "{refused:?}");
    assert_eq!(refused.message.len(), 8 * 1024);
    // It is not the fault of this peer that another one does not read.
    other.try_send("small").unwrap();
    peer.expect_text("small").await;

    let sender = other.clone();
    let waiting = tokio::spawn(async move { sender.send(vec![0; 8 * 1024]).await });
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!waiting.is_finished());
    hog.abort();
    ended(&supervisor, &hog).await;
    waiting.await.unwrap().unwrap();
    assert_eq!(peer.read().await.payload.len(), 8 * 1024);
}

#[tokio::test]
async fn messages_larger_than_the_memory_still_pass_one_by_one_on_all_connections() {
    let supervisor = Supervisor::builder().memory(32 * 1024).start().await.unwrap();
    let mut exchanges = tokio::task::JoinSet::new();
    for n in 0..10 {
        let (connection, mut peer) =
            piped_to(&supervisor, Backend::echo(), 4096, settings(|_| {})).await;
        exchanges.spawn(async move {
            for _ in 0..5 {
                peer.send(Frame::binary(vec![n; 100_000])).await;
                let echo = peer.read().await;
                assert_eq!((echo.payload.len(), echo.payload[0]), (100_000, n));
            }
            drop(peer);
            connection.ended().await.outcome.kind
        });
    }
    while let Some(kind) = exchanges.join_next().await {
        assert_eq!(kind.unwrap(), Kind::ClosedPrematurely);
    }
    assert!(supervisor.accounting().balances());
}

#[tokio::test(start_paused = true)]
async fn memory_that_a_receiver_does_not_take_stops_other_reading_until_it_is_gone() {
    let supervisor = Supervisor::builder().memory(32 * 1024).start().await.unwrap();
    let (hog, hogged, mut generous) =
        piped(&supervisor, Role::Server, 64 * 1024, settings(|_| {})).await;
    generous.send(Frame::binary(vec![0; 40_000])).await;
    let (_other, mut messages, mut peer) =
        piped(&supervisor, Role::Server, 64 * 1024, settings(|_| {})).await;
    for _ in 0..3 {
        peer.send(Frame::binary(vec![0; 100])).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    hog.abort();
    ended(&supervisor, &hog).await;
    drop(hogged);
    for _ in 0..3 {
        assert!(messages.receive().await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn every_end_gives_back_what_it_held() {
    // Were ten bytes left behind each time, the outbox would soon be refused its room.
    let supervisor = Supervisor::builder().memory(10_000).start().await.unwrap();
    for n in 0..200_u32 {
        let (connection, messages, mut peer) =
            piped(&supervisor, Role::Server, 64, settings(|_| {})).await;
        connection.try_send(vec![0; 9_000]).unwrap();
        peer.send(Frame::binary(vec![0; 30]).unfinished()).await;
        match n % 3 {
            0 => connection.abort(),
            1 => drop(peer),
            _ => peer.send(Frame::text("no continuation")).await,
        }
        ended(&supervisor, &connection).await;
        drop(messages);
    }
}

#[tokio::test]
async fn empty_messages_that_nobody_reads_are_held_to_what_they_take() {
    const LIMIT: u64 = 256 * 1024;
    let supervisor = Supervisor::builder().start().await.unwrap();
    let frames = Frame::binary("").encode(Side::Client).repeat(2_000);
    let mut peers = Vec::new();
    for _ in 0..4 {
        let (peer, socket) = RawPeer::adopted(Side::Client).await;
        // Kernels that buffer little, so that the outbox is soon full.
        socket2::SockRef::from(peer.stream()).set_recv_buffer_size(16 * 1024).unwrap();
        socket2::SockRef::from(&socket).set_send_buffer_size(16 * 1024).unwrap();
        let adopt = Adopt { settings: settings(|_| {}), ..Adopt::new(Role::Server, socket) };
        peers.push((supervisor.adopt(adopt, Backend::echo()).await.unwrap(), peer));
    }
    for (connection, peer) in &mut peers {
        // Until nothing is taken any more.
        let taking = Duration::from_secs(1);
        let mut at = 0;
        while tokio::time::timeout(taking, peer.stream().writable()).await.is_ok() {
            if let Ok(written) = peer.stream().try_write(&frames[at..]) {
                at = (at + written) % frames.len();
            }
        }
        let queued = connection.status().traffic.undelivered_messages;
        // Each takes at least a slot of 64 bytes.
        assert!(queued > 100 && queued * 64 <= LIMIT + 64, "{queued} messages are queued");
    }
}
