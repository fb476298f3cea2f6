//! Actor, mover or handler dies: exactly one ending, and nothing is left behind.

use std::sync::Arc;

use ractor::ActorRef;
use tokio::io::AsyncWriteExt;

use super::bench::{Bench, Fault, Faulty, Peer, SOON, Switch, frame, soon, state};
use crate::actor::backend::{Backend, CloseReply, Handler, HandlerFailure, Receiver};
use crate::connection::handle::ConnectionHandle;
use crate::connection::mailbox::ConnectionMessage;
use crate::node::observing::Observer;
use crate::protocol::closing_handshake::{CloseRequest, ReplyPolicy};
use crate::protocol::frame_encoder::Opcode;
use crate::settings::{ByteSize, Close, ConnectionSettings};
use crate::vocabulary::{
    Cause, CloseFrame, CloseState, Ending, Event, Fault as Whose, FirstClose, Kind, Message,
    ReceivedClose, Role,
};

/// How an actor dies.
#[derive(Debug, Clone, Copy)]
enum Death {
    Kill,
    Panic,
}

/// Where the closing handshake stands when it does.
#[derive(Debug, Clone, Copy)]
enum When {
    Open,
    CloseSent,
    ReplyPending,
    AwaitingTransportEnd,
    Failing,
    Flushing,
}

fn actor(handle: &ConnectionHandle) -> &ActorRef<ConnectionMessage> {
    handle.connection().mailbox.actor().unwrap()
}

async fn dies(when: When, death: Death) -> Arc<Ending> {
    let bench = Bench::new().await;
    let reply = match when {
        When::ReplyPending => ReplyPolicy::Chosen,
        _ => ReplyPolicy::AtOnce,
    };
    let (mut peer, transport) = Peer::new(1024);
    let settings = ConnectionSettings::default();
    let handle = bench.adopt(Role::Server, transport, Backend::receiver(reply), settings).await;
    match when {
        When::Open => {}
        When::CloseSent => {
            handle.close_output(1000, "bye").unwrap();
            assert_eq!(peer.read().await.0, 8);
            state(&handle, CloseState::CloseSent).await;
        }
        When::ReplyPending => {
            peer.close().await;
            state(&handle, CloseState::CloseReceived).await;
        }
        When::AwaitingTransportEnd => {
            peer.close().await;
            assert_eq!(peer.read().await.0, 8);
            state(&handle, CloseState::Closed).await;
        }
        When::Failing => {
            peer.send_raw(&[0xff, 0x80, 0, 0, 0, 0]).await;
            assert_eq!(peer.read().await.0, 8);
        }
        When::Flushing => {
            handle.try_send("x".repeat(10_000)).unwrap();
            peer.fin().await;
            let connection = Arc::clone(handle.connection());
            super::bench::eventually("flushing", || !connection.outbox.is_open()).await;
        }
    }
    // Dropped earlier, it would have the peer's Close answered.
    let messages = Receiver::of(&handle);
    let waiters: Vec<_> = (0..10)
        .map(|_| {
            let handle = handle.clone();
            tokio::spawn(async move { handle.ended().await })
        })
        .collect();
    let closing = handle.clone();
    let closing = async move { closing.ended().await };
    tokio::task::yield_now().await;
    match death {
        Death::Kill => actor(&handle).kill(),
        Death::Panic => actor(&handle).cast(ConnectionMessage::Panic).unwrap(),
    }
    soon("the transport to be dropped", peer.read_to_end()).await;
    for waiter in waiters {
        assert_eq!(soon("a waiter to be told", waiter).await.unwrap().id, handle.id());
    }
    soon("a close to return", closing).await;
    drop((peer, messages));
    bench.only_ending(&handle).await
}

#[tokio::test]
async fn an_actor_that_dies_in_any_state_has_one_ending() {
    // Where the kind was fixed before, or both Closes were through, the death is only remarked.
    let table = [
        (When::Open, Kind::ActorFailed, CloseState::Open, Cause::None),
        (When::CloseSent, Kind::ActorFailed, CloseState::CloseSent, Cause::Embedder),
        (When::ReplyPending, Kind::ActorFailed, CloseState::CloseReceived, Cause::Peer),
        (When::AwaitingTransportEnd, Kind::Clean, CloseState::Closed, Cause::Peer),
        (When::Failing, Kind::ProtocolViolation, CloseState::CloseSent, Cause::Violation),
        (When::Flushing, Kind::ClosedPrematurely, CloseState::Open, Cause::None),
    ];
    for (when, kind, state, cause) in table {
        for death in [Death::Kill, Death::Panic] {
            let outcome = &dies(when, death).await.outcome;
            assert_eq!(outcome.kind, kind, "{when:?}");
            assert_eq!((outcome.state, outcome.cause), (Some(state), cause), "{when:?}");
            let whose = if kind == Kind::ActorFailed { Whose::Local } else { outcome.fault };
            assert_eq!(outcome.fault, whose, "{when:?}");
            let said = match death {
                Death::Kill => "killed",
                Death::Panic => "a test asked for it",
            };
            assert!(outcome.detail.contains(said), "{when:?}: {}", outcome.detail);
        }
    }
}

/// Takes a message and never returns.
struct Stuck;

impl Handler for Stuck {
    async fn on_message(
        &mut self,
        _connection: &ConnectionHandle,
        _message: Message,
    ) -> Result<(), HandlerFailure> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn what_a_killed_connection_held_is_counted_and_given_back() {
    let bench = Bench::new().await;
    let (mut peer, transport) = Peer::new(64 * 1024);
    let settings = ConnectionSettings::default();
    let backend = Backend::handler("stuck", Stuck);
    let handle = bench.adopt(Role::Server, transport, backend, settings).await;
    for _ in 0..4 {
        peer.send(Opcode::Text, b"one").await;
    }
    let started = frame(Opcode::Binary, &[7; 40_000]);
    peer.send_raw(&started[..30_000]).await;
    handle.try_send("out").unwrap();
    peer.read().await;
    // Three messages and most of one more are held.
    super::bench::eventually("memory to be charged", || bench.used() > 29_000).await;
    actor(&handle).kill();
    let ending = bench.only_ending(&handle).await;
    assert_eq!(ending.outcome.kind, Kind::ActorFailed);
    let traffic = ending.traffic.as_ref().unwrap();
    assert_eq!((traffic.messages_in, traffic.discarded_messages), (4, 3));
    assert_eq!((traffic.messages_out, traffic.undelivered_messages), (1, 0));
}

#[tokio::test]
async fn a_mover_that_panics_is_an_actor_that_failed() {
    for fault in [Fault::PanicInRead, Fault::PanicInWrite] {
        let bench = Bench::new().await;
        let (mut peer, inner) = Peer::new(1024);
        let switch = Switch::default();
        let transport = Faulty { inner, switch: switch.clone() };
        let backend = Backend::receiver(ReplyPolicy::AtOnce);
        let handle =
            bench.adopt(Role::Server, transport, backend, ConnectionSettings::default()).await;
        peer.send_raw(&frame(Opcode::Text, b"hello")[..8]).await;
        super::bench::eventually("memory to be charged", || bench.used() > 0).await;
        switch.set(fault);
        handle.try_send("lost").unwrap();
        peer.read_to_end().await;
        let ending = bench.only_ending(&handle).await;
        let outcome = &ending.outcome;
        assert_eq!((outcome.kind, outcome.state), (Kind::ActorFailed, Some(CloseState::Open)));
        let traffic = ending.traffic.as_ref().unwrap();
        assert_eq!(traffic.undelivered_messages + traffic.messages_out, 1, "{traffic:?}");
    }
}

#[tokio::test]
async fn an_actor_that_does_not_start_has_its_ending() {
    let bench = Bench::new().await;
    let (mut peer, transport) = Peer::new(1024);
    let settings = ConnectionSettings::default();
    let handle = bench.adopt(Role::Server, transport, Backend::stillborn(), settings).await;
    peer.read_to_end().await;
    let ending = bench.only_ending(&handle).await;
    assert_eq!(ending.outcome.kind, Kind::ActorFailed);
    assert_eq!(handle.close(1000, "").unwrap().await.id, ending.id);
}

#[tokio::test]
async fn an_actor_that_cannot_be_linked_has_its_ending() {
    let supervisor = Arc::new(std::sync::OnceLock::<ractor::ActorCell>::new());
    let drained = Arc::clone(&supervisor);
    let observer: Observer = Box::new(move |event| {
        if let (Event::Opened(_), Some(supervisor)) = (&event.event, drained.get()) {
            supervisor.drain().unwrap();
        }
    });
    let bench = Bench::observed(Some(observer)).await;
    supervisor.set(bench.supervisor.inner.node.supervisor.get_cell()).unwrap();
    let (mut peer, transport) = Peer::new(1024);
    let backend = Backend::receiver(ReplyPolicy::AtOnce);
    let handle = bench.adopt(Role::Server, transport, backend, ConnectionSettings::default()).await;
    peer.read_to_end().await;
    assert_eq!(bench.only_ending(&handle).await.outcome.kind, Kind::ActorFailed);
}

/// Panics where the test wants it to.
struct Panicking(&'static str);

impl Handler for Panicking {
    const CHOOSES_REPLY: bool = true;

    async fn on_open(&mut self, _connection: &ConnectionHandle) -> Result<(), HandlerFailure> {
        assert_ne!(self.0, "on_open");
        Ok(())
    }

    async fn on_message(
        &mut self,
        _connection: &ConnectionHandle,
        _message: Message,
    ) -> Result<(), HandlerFailure> {
        assert_ne!(self.0, "on_message");
        Ok(())
    }

    async fn on_close(
        &mut self,
        _connection: &ConnectionHandle,
        _close: &ReceivedClose,
    ) -> Result<CloseReply, HandlerFailure> {
        assert_ne!(self.0, "on_close");
        Ok(CloseReply::InKind)
    }
}

#[tokio::test]
async fn a_handler_that_panics_anywhere_is_a_backend_that_failed() {
    for (place, first_close) in [
        ("on_open", FirstClose::Local),
        ("on_message", FirstClose::Local),
        ("on_close", FirstClose::Peer),
    ] {
        let bench = Bench::new().await;
        let (mut peer, transport) = Peer::new(1024);
        let backend = Backend::handler("panicking", Panicking(place));
        let handle =
            bench.adopt(Role::Server, transport, backend, ConnectionSettings::default()).await;
        match place {
            "on_message" => peer.send(Opcode::Text, b"now").await,
            "on_close" => peer.close().await,
            _ => {}
        }
        let (opcode, payload) = peer.read().await;
        assert_eq!((opcode, &payload[..2]), (8, &1011_u16.to_be_bytes()[..]), "{place}");
        if place != "on_close" {
            peer.send(Opcode::Close, &payload[..2]).await;
        }
        assert!(peer.read_to_end().await.is_empty());
        drop(peer);
        let ending = bench.only_ending(&handle).await;
        let outcome = &ending.outcome;
        assert_eq!((outcome.kind, outcome.fault), (Kind::BackendFailed, Whose::Backend), "{place}");
        assert_eq!((outcome.state, outcome.first_close), (Some(CloseState::Closed), first_close));
        assert!(outcome.detail.contains("panicked"), "{}", outcome.detail);
    }
}

#[tokio::test]
async fn a_panic_of_the_observer_is_harmless() {
    let observer: Observer = Box::new(|_| panic!("a test asked for it"));
    let bench = Bench::observed(Some(observer)).await;
    let (mut peer, transport) = Peer::new(1024);
    let handle =
        bench.adopt(Role::Server, transport, Backend::echo(), ConnectionSettings::default()).await;
    peer.close().await;
    assert_eq!(peer.read().await.0, 8);
    drop(peer);
    assert!(bench.only_ending(&handle).await.is_clean());
}

#[tokio::test]
async fn an_abort_that_comes_before_the_actor_is_heard() {
    let core = Arc::new(std::sync::OnceLock::<Bench>::new());
    let aborting = Arc::clone(&core);
    let observer: Observer = Box::new(move |event| {
        if let (Event::Opened(opened), Some(bench)) = (&event.event, aborting.get()) {
            bench.supervisor.connection(opened.id).unwrap().abort();
        }
    });
    let bench = Bench::observed(Some(observer)).await;
    let bench = core.get_or_init(|| bench);
    let (mut peer, transport) = Peer::new(1024);
    let settings = ConnectionSettings {
        limits: crate::settings::Limits { inbox_bytes: ByteSize::kib(1), ..Default::default() },
        ..Default::default()
    };
    let backend = Backend::receiver(ReplyPolicy::AtOnce);
    let handle = bench.adopt(Role::Server, transport, backend, settings).await;
    assert!(tokio::time::timeout(SOON, peer.read_to_end()).await.unwrap().is_empty());
    assert_eq!(bench.only_ending(&handle).await.outcome.kind, Kind::Aborted);
}

/// What ends a connection in the crowd.
async fn end(n: usize, handle: &ConnectionHandle, mut peer: Peer) {
    match n % 8 {
        0 => actor(handle).kill(),
        1 => actor(handle).cast(ConnectionMessage::Panic).unwrap(),
        2 => handle.abort(),
        3 => drop(handle.close(1000, "").unwrap()),
        4 => {
            handle.connection().close(CloseRequest::new(CloseFrame::Empty, Cause::Api));
        }
        5 => peer.close().await,
        6 => peer.send_raw(&[0xff; 20]).await,
        _ => {}
    }
    // Those still open lose their peer in the middle of a frame.
    let _ = peer.pipe.write_all(&frame(Opcode::Binary, &[0; 3000])[..2000]).await;
    if n.is_multiple_of(3) && n % 8 < 7 {
        peer.read_to_end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_a_crowd_that_ends_in_every_way_at_once_each_has_one_ending() {
    const CROWD: usize = 400;
    let bench = Bench::new().await;
    let mut ends = tokio::task::JoinSet::new();
    let mut handles = Vec::new();
    for n in 0..CROWD {
        let (mut peer, transport) = Peer::new(4096);
        let backend = match n % 5 {
            0 => Backend::handler("stuck", Stuck),
            1 | 2 => Backend::echo(),
            _ => Backend::receiver(ReplyPolicy::AtOnce),
        };
        let close = Close { timeout: SOON / 10, linger: SOON / 20, ..Default::default() };
        let settings = ConnectionSettings { close, ..Default::default() };
        let handle = bench.adopt(Role::Server, transport, backend, settings).await;
        // No receiver is read here.
        drop((3..5).contains(&(n % 5)).then(|| Receiver::of(&handle)));
        handles.push(handle.clone());
        ends.spawn(async move {
            for _ in 0..n % 7 {
                peer.send(Opcode::Text, b"hello").await;
                let _ = handle.try_send("hello");
            }
            end(n, &handle, peer).await;
        });
    }
    while let Some(end) = ends.join_next().await {
        end.unwrap();
    }
    for handle in &handles {
        soon("an ending", handle.ended()).await;
    }
    let accounting = bench.supervisor.accounting();
    assert_eq!((accounting.opened, accounting.open, accounting.ended), (400, 0, 400));
    assert_eq!(bench.ledger.kept().len(), CROWD);
    super::bench::eventually("no memory charged", || bench.used() == 0).await;
}
