//! One budget for all queues: when it is used up, sends are refused instead of waiting forever.

use std::time::Duration;

use lastword::settings::ByteSize;
use lastword::vocabulary::{Cause, CloseState, FirstClose, Kind, Role};
use lastword::{Adopt, Backend, Incoming, SendError, Supervisor};

use super::stage::{Pipe, assert_limit, ended, piped, piped_to, sent_code, settings};
use crate::support::frame::{Frame, Side};
use crate::support::raw_peer::RawPeer;

#[tokio::test(start_paused = true)]
async fn spent_memory_refuses_and_a_send_that_waits_goes_on_when_there_is_some() {
    let supervisor = Supervisor::builder().memory(64 * 1024).start().await.unwrap();
    let close_on_full = settings(|s| s.limits.on_full = lastword::settings::OnFull::Close);
    let (hog, _hogged, _silent) = piped(&supervisor, Role::Server, 64, settings(|_| {})).await;
    let (other, _messages, mut peer) =
        piped(&supervisor, Role::Server, 64 * 1024, close_on_full).await;
    hog.send(vec![0; 48 * 1024]).await.unwrap();
    let refused = other.try_send(vec![0; 20 * 1024]).unwrap_err();
    assert!(matches!(refused.error, SendError::Full { limit: 65_536, .. }), "{refused:?}");
    assert_eq!(refused.message.len(), 20 * 1024);
    // It is not the fault of this peer that another one does not read.
    other.try_send("small").unwrap();
    peer.expect_text("small").await;

    let sender = other.clone();
    let waiting = tokio::spawn(async move { sender.send(vec![0; 20 * 1024]).await });
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!waiting.is_finished());
    hog.abort();
    ended(&supervisor, &hog).await;
    waiting.await.unwrap().unwrap();
    assert_eq!(peer.read().await.payload.len(), 20 * 1024);
}

#[tokio::test]
async fn small_messages_pass_on_all_connections_whatever_the_memory() {
    let supervisor = Supervisor::builder().memory(32 * 1024).start().await.unwrap();
    let mut exchanges = tokio::task::JoinSet::new();
    for n in 0..100 {
        let (connection, mut peer) =
            piped_to(&supervisor, Backend::echo(), 4096, settings(|_| {})).await;
        exchanges.spawn(async move {
            for _ in 0..5 {
                peer.send(Frame::binary(vec![n; 1000])).await;
                let echo = peer.read().await;
                assert_eq!((echo.payload.len(), echo.payload[0]), (1000, n));
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
async fn memory_that_a_receiver_does_not_take_is_freed_by_its_connections_end() {
    let supervisor = Supervisor::builder().memory(32 * 1024).start().await.unwrap();
    let (hog, hogged, mut generous) =
        piped(&supervisor, Role::Server, 64 * 1024, settings(|_| {})).await;
    generous.send(Frame::binary(vec![0; 40_000])).await;
    let (_other, mut messages, mut peer) =
        piped(&supervisor, Role::Server, 64 * 1024, settings(|_| {})).await;
    for _ in 0..3 {
        peer.send(Frame::binary(vec![0; 100])).await;
    }
    for _ in 0..3 {
        assert!(messages.receive().await.is_ok());
    }
    let (code, _) = generous.expect_close().await;
    assert_eq!(code, Some(1013));
    drop(generous);
    let ending = ended(&supervisor, &hog).await;
    assert_limit(&ending, Kind::SlowConsumer, "memory");
    assert_eq!(ending.traffic.as_ref().unwrap().discarded_messages, 1);
    drop(hogged);
}

/// Sends the header of a message of this size, and a part of its payload.
async fn send_part(peer: &mut Pipe, whole: usize, part: usize) -> bool {
    let bytes = Frame::binary(vec![7; whole]).encode(Side::Client);
    peer.try_send_raw(&bytes[..part], Duration::from_secs(5)).await
}

#[tokio::test(start_paused = true)]
async fn messages_that_are_not_complete_count_and_the_largest_goes() {
    let supervisor = Supervisor::builder().memory(1 << 20).start().await.unwrap();
    let mut half = Vec::new();
    for part in [500_000, 200_000, 200_000] {
        let (connection, mut peer) =
            piped_to(&supervisor, Backend::echo(), 4096, settings(|_| {})).await;
        send_part(&mut peer, 700_000, part).await;
        half.push((connection, peer));
    }
    let (largest, mut peer) = half.remove(0);
    let (code, reason) = peer.expect_close().await;
    assert_eq!((code, &*reason), (Some(1013), "out of memory"));
    peer.send(Frame::close(1013, reason)).await;
    let ending = ended(&supervisor, &largest).await;
    assert_limit(&ending, Kind::SlowConsumer, "memory");
    let limit = ending.outcome.limit.as_ref().unwrap();
    assert!((500_000..600_000).contains(&limit.observed), "{limit:?}");
    assert_eq!(limit.limit, 1 << 20);
    // There is room again, and the others have noticed nothing.
    for (connection, peer) in &mut half {
        assert_eq!(connection.state(), CloseState::Open);
        peer.text("small").await;
    }
    assert!(supervisor.accounting().balances());
    assert_eq!(supervisor.accounting().open, 2);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_victim_gives_back_what_it_held_before_its_peer_has_gone() {
    let supervisor = Supervisor::builder().memory(1 << 20).start().await.unwrap();
    let (_victim, mut stuck) = piped_to(&supervisor, Backend::echo(), 4096, settings(|_| {})).await;
    let (_other, mut peer) = piped_to(&supervisor, Backend::echo(), 4096, settings(|_| {})).await;
    send_part(&mut stuck, 1_000_000, 999_999).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(supervisor.census().memory_used < 100_000, "{:?}", supervisor.census().memory_used);
    // What the victim still sends is not kept.
    stuck.try_send(Frame::binary(vec![0; 300_000]), Duration::from_secs(1)).await;
    assert!(supervisor.census().memory_used < 100_000);
    peer.send(Frame::binary(vec![1; 400_000])).await;
    assert_eq!(peer.read().await.payload.len(), 400_000);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_lets_most_wait_is_dropped_when_memory_is_used_up() {
    let supervisor = Supervisor::builder().memory(1 << 20).start().await.unwrap();
    let large = || settings(|s| s.limits.outbox_bytes = ByteSize::mib(2));
    let (hog, _messages, _silent) = piped(&supervisor, Role::Server, 64, large()).await;
    for _ in 0..10 {
        hog.try_send(vec![0; 100_000]).unwrap();
    }
    let (_other, mut peer) = piped_to(&supervisor, Backend::echo(), 4096, settings(|_| {})).await;
    peer.send(Frame::binary(vec![1; 200_000])).await;
    assert_eq!(peer.read().await.payload.len(), 200_000);
    let ending = ended(&supervisor, &hog).await;
    assert_limit(&ending, Kind::SlowConsumer, "memory");
    assert_eq!((ending.outcome.first_close, sent_code(&ending)), (FirstClose::None, None));
    assert_eq!(ending.traffic.as_ref().unwrap().undelivered_messages, 10);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_finished_in_time_closes_its_connection() {
    for role in [Role::Server, Role::Client] {
        let supervisor = Supervisor::builder().start().await.unwrap();
        let (connection, mut messages, mut peer) =
            piped(&supervisor, role, 64 * 1024, settings(|_| {})).await;
        let began = tokio::time::Instant::now();
        // Pings, and small pieces now and then, do not help.
        peer.send(Frame::text("begun").unfinished()).await;
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(10)).await;
            peer.send(Frame::ping("alive")).await;
            peer.read().await;
            peer.send(Frame::continuation("more").unfinished()).await;
        }
        let (code, reason) = peer.expect_close().await;
        assert_eq!((code, &*reason), (Some(3008), "message timeout"));
        let took = began.elapsed();
        assert!(took >= Duration::from_secs(60) && took < Duration::from_secs(61), "{took:?}");
        assert_eq!(supervisor.census().memory_used, 0);
        // The peer may still end its message, which is not delivered, and answer.
        peer.send(Frame::continuation("end")).await;
        peer.send(Frame::close(3008, reason)).await;
        peer.fin().await;
        let ending = ended(&supervisor, &connection).await;
        assert_limit(&ending, Kind::Clean, "message_timeout");
        assert_eq!(ending.outcome.cause, Cause::IdleTimeout);
        assert_eq!(ending.traffic.as_ref().unwrap().discarded_messages, 1);
        assert!(matches!(messages.receive().await, Ok(Incoming::Close(_)) | Err(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn each_message_has_its_own_time_and_zero_is_for_ever() {
    for timeout in [Duration::from_secs(60), Duration::ZERO] {
        let supervisor = Supervisor::builder().start().await.unwrap();
        let patient = settings(|s| s.limits.message_timeout = timeout);
        let (connection, mut peer) = piped_to(&supervisor, Backend::echo(), 4096, patient).await;
        let pause = if timeout.is_zero() { 600 } else { 40 };
        peer.send(Frame::text("a").unfinished()).await;
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            peer.send(Frame::continuation("b")).await;
            peer.expect_text("ab").await;
            peer.send(Frame::text("a").unfinished()).await;
        }
        assert_eq!(connection.state(), CloseState::Open);
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
async fn unread_empty_messages_are_charged_for_what_they_take() {
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
        let queued = || connection.status().traffic.undelivered_messages;
        let filled = tokio::time::timeout(Duration::from_secs(60), async {
            let (mut at, mut before) = (0, 0);
            // Until nothing is taken any more. A slow machine may need longer than the pause for
            // what the kernel holds before the first message has to be queued.
            while queued() <= 100 || queued() > before {
                before = queued();
                let pause = Duration::from_millis(300);
                while tokio::time::timeout(pause, peer.stream().writable()).await.is_ok() {
                    if let Ok(written) = peer.stream().try_write(&frames[at..]) {
                        at = (at + written) % frames.len();
                    }
                }
            }
        });
        filled.await.expect("the queue fills within a minute");
        let queued = queued();
        // Each takes at least a slot of 64 bytes.
        assert!(queued > 100 && queued * 64 <= LIMIT + 64, "{queued} messages are queued");
    }
}
