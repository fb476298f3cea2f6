//! An idle connection sleeps, and waiting tasks are woken.

use std::time::{Duration, Instant};

use super::bench::{Bench, Fault, Faulty, Peer, Switch, eventually, soon};
use crate::actor::backend::{Backend, Handler, HandlerFailure, Receiver};
use crate::connection::handle::ConnectionHandle;
use crate::connection::inbox::Incoming;
use crate::protocol::closing_handshake::ReplyPolicy;
use crate::protocol::frame_encoder::Opcode;
use crate::settings::{ByteSize, Close, ConnectionSettings, Keepalive, Limits};
use crate::vocabulary::{Kind, Message, Role};

/// Takes nothing.
struct Asleep;

impl Handler for Asleep {
    async fn on_open(&mut self, _connection: &ConnectionHandle) -> Result<(), HandlerFailure> {
        std::future::pending().await
    }

    async fn on_message(
        &mut self,
        _connection: &ConnectionHandle,
        _message: Message,
    ) -> Result<(), HandlerFailure> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_does_not_spin() {
    let bench = Bench::new().await;
    let (mut peer, inner) = Peer::new(1024);
    let switch = Switch::default();
    let transport = Faulty { inner, switch: switch.clone() };
    let keepalive = Keepalive { ping_interval: Duration::ZERO, ..Default::default() };
    let settings = ConnectionSettings { keepalive, ..Default::default() };
    let backend = Backend::receiver(ReplyPolicy::AtOnce);
    let _handle = bench.adopt(Role::Server, transport, backend, settings).await;
    peer.send(Opcode::Text, b"hello").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = switch.reads();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(switch.reads(), before);
}

#[tokio::test(start_paused = true)]
async fn keepalive_polls_as_often_as_it_pings() {
    let bench = Bench::new().await;
    let (mut peer, inner) = Peer::new(1024);
    let switch = Switch::default();
    let transport = Faulty { inner, switch: switch.clone() };
    let backend = Backend::receiver(ReplyPolicy::AtOnce);
    let _handle =
        bench.adopt(Role::Server, transport, backend, ConnectionSettings::default()).await;
    let before = switch.reads();
    let mut pings = 0;
    while pings < 100 {
        tokio::time::sleep(Duration::from_secs(22)).await;
        let ping = peer.read().await;
        assert_eq!(ping.0, 9);
        peer.send(Opcode::Pong, &ping.1).await;
        pings += 1;
    }
    let polls = switch.reads() - before;
    assert!(polls <= 10 * pings, "{polls} reads for {pings} pings");
}

#[tokio::test(start_paused = true)]
async fn a_paused_connection_looks_now_and_then_and_does_not_spin() {
    let bench = Bench::new().await;
    let (mut peer, inner) = Peer::new(1 << 20);
    let switch = Switch::default();
    let transport = Faulty { inner, switch: switch.clone() };
    let limits = Limits {
        inbox_bytes: ByteSize::kib(1),
        inbox_timeout: Duration::from_secs(30),
        ..Default::default()
    };
    let settings = ConnectionSettings { limits, ..Default::default() };
    let backend = Backend::handler("asleep", Asleep);
    let handle = bench.adopt(Role::Server, transport, backend, settings).await;
    peer.send(Opcode::Binary, &[0; 200_000]).await;
    peer.send(Opcode::Binary, &[0; 200_000]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = switch.reads();
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(switch.reads(), before, "it read while its inbox was full");
    assert_eq!(peer.read().await.0, 9);
    // One message and what one read brings are held, and charged.
    assert!((200_000..300_000).contains(&bench.used()), "{}", bench.used());
    assert_eq!(peer.read().await.0, 8);
    drop(peer);
    let ending = bench.only_ending(&handle).await;
    let limit = ending.outcome.limit.as_ref().unwrap();
    assert_eq!((ending.outcome.kind, limit.name), (Kind::BackendFailed, "inbox_timeout"));
    let traffic = ending.traffic.as_ref().unwrap();
    assert_eq!(traffic.messages_in, traffic.discarded_messages);
}

#[tokio::test]
async fn a_failed_write_on_a_silent_transport_does_not_spin() {
    let bench = Bench::new().await;
    let (_peer, inner) = Peer::new(1024);
    let switch = Switch::default();
    let transport = Faulty { inner, switch: switch.clone() };
    let close = Close { linger: Duration::ZERO, ..Default::default() };
    let settings = ConnectionSettings { close, ..Default::default() };
    let backend = Backend::receiver(ReplyPolicy::AtOnce);
    let handle = bench.adopt(Role::Server, transport, backend, settings).await;
    switch.set(Fault::DeafAndDumb);
    handle.try_send("lost").unwrap();
    // On one thread: a mover that spins starves all other tasks, so a separate thread watches.
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let watching = std::sync::Arc::clone(&done);
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(20));
        if !watching.load(std::sync::atomic::Ordering::SeqCst) {
            std::process::exit(99);
        }
    });
    let ending = bench.only_ending(&handle).await;
    done.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(ending.outcome.kind, Kind::ConnectionReset);
    assert_eq!(ending.traffic.as_ref().unwrap().undelivered_messages, 1);
}

#[tokio::test]
async fn a_receiver_that_takes_wakes_reading() {
    let bench = Bench::new().await;
    let (mut peer, transport) = Peer::new(64 * 1024);
    let limits = Limits { inbox_bytes: ByteSize::kib(1), ..Default::default() };
    let settings = ConnectionSettings { limits, ..Default::default() };
    let backend = Backend::receiver(ReplyPolicy::AtOnce);
    let handle = bench.adopt(Role::Server, transport, backend, settings).await;
    let mut receiver = Receiver::of(&handle);
    let started = Instant::now();
    let sending = async {
        for _ in 0..200 {
            peer.send(Opcode::Binary, &[0; 1000]).await;
        }
    };
    let receiving = async {
        for _ in 0..200 {
            let incoming = soon("a message", receiver.receive()).await.unwrap();
            assert!(matches!(incoming, Incoming::Message(message) if message.len() == 1000));
        }
    };
    tokio::join!(sending, receiving);
    // Looking four times a second would take 50 seconds.
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_dropped_wakes_reading_and_what_it_left_is_discarded() {
    let bench = Bench::new().await;
    let (mut peer, transport) = Peer::new(1 << 20);
    let limits = Limits { inbox_bytes: ByteSize::kib(1), ..Default::default() };
    let settings = ConnectionSettings { limits, ..Default::default() };
    let backend = Backend::receiver(ReplyPolicy::AtOnce);
    let handle = bench.adopt(Role::Server, transport, backend, settings).await;
    let mut receiver = Receiver::of(&handle);
    for _ in 0..100 {
        peer.send(Opcode::Binary, &[0; 1000]).await;
    }
    soon("a message", receiver.receive()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let started = tokio::time::Instant::now();
    drop(receiver);
    peer.close().await;
    assert_eq!(peer.read().await.0, 8);
    assert!(started.elapsed() < Duration::from_millis(50), "{:?}", started.elapsed());
    drop(peer);
    let ending = bench.only_ending(&handle).await;
    let traffic = ending.traffic.as_ref().unwrap();
    assert_eq!((traffic.messages_in, traffic.discarded_messages), (100, 99));
}

#[tokio::test]
async fn a_send_that_waits_is_woken_when_the_connection_ends() {
    let bench = Bench::new().await;
    let (peer, transport) = Peer::new(64);
    let limits = Limits { outbox_bytes: ByteSize(100), ..Default::default() };
    let settings = ConnectionSettings { limits, ..Default::default() };
    let backend = Backend::receiver(ReplyPolicy::AtOnce);
    let handle = bench.adopt(Role::Server, transport, backend, settings).await;
    handle.send(vec![0; 1000]).await.unwrap();
    let sender = handle.clone();
    let waiting = tokio::spawn(async move { sender.send(vec![0; 1000]).await });
    eventually("a full outbox", || !handle.connection().outbox.has_room()).await;
    tokio::task::yield_now().await;
    handle.abort();
    assert!(soon("the send to be refused", waiting).await.unwrap().is_err());
    drop(peer);
    let ending = bench.only_ending(&handle).await;
    assert_eq!(ending.traffic.as_ref().unwrap().undelivered_messages, 1);
}
