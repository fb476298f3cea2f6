//! Reading stops when its backend does not take, writing when its peer does not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lastword::settings::ByteSize;
use lastword::vocabulary::{Cause, Fault, FirstClose, Kind, Role, TransportEnd};
use lastword::{Backend, ConnectionHandle, Handler, HandlerFailure, Message};
use tokio::time::Instant;

use super::stage::{assert_limit, ended, piped_to, sent_code, settings, socket, supervisor};
use crate::support::SOON;
use crate::support::frame::{Frame, PING, Side};
use crate::support::raw_peer::RawPeer;

/// Takes one message and never comes back.
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

/// Writes frames until the other end has taken none for a while; returns how many bytes went.
async fn fill(peer: &mut RawPeer) -> usize {
    let frame = Frame::binary(vec![0; 16 * 1024]).encode(Side::Client);
    let mut sent = 0;
    while sent < 256 * 1024 * 1024 {
        let mut left = frame.as_slice();
        while !left.is_empty() {
            let ready = tokio::time::timeout(Duration::from_millis(200), peer.stream().writable());
            if ready.await.is_err() {
                return sent;
            }
            if let Ok(written) = peer.stream().try_write(left) {
                left = &left[written..];
                sent += written;
            }
        }
    }
    panic!("the other end took {sent} bytes");
}

#[tokio::test]
async fn a_handler_that_takes_nothing_stops_reading_and_is_blamed() {
    let supervisor = supervisor().await;
    let settings = settings(|s| {
        s.limits.inbox_bytes = ByteSize::kib(64);
        s.limits.inbox_timeout = Duration::from_secs(2);
    });
    let (adopt, mut peer) = socket(Role::Server, settings).await;
    let connection = supervisor.adopt(adopt, Backend::handler("stuck", Stuck)).await.unwrap();
    fill(&mut peer).await;
    assert_eq!(peer.expect_close(SOON).await.0, Some(1011));
    drop(peer);
    let ending = ended(&supervisor, &connection).await;
    assert_limit(&ending, Kind::BackendFailed, "inbox_timeout");
    assert_eq!((ending.outcome.fault, ending.outcome.cause), (Fault::Backend, Cause::Backend));
    let traffic = ending.traffic.as_ref().unwrap();
    assert_eq!(traffic.messages_in, traffic.discarded_messages + 1);
}

#[tokio::test(start_paused = true)]
async fn reading_stops_at_inbox_bytes_and_the_wait_for_a_pong_with_it() {
    let supervisor = supervisor().await;
    let settings = settings(|s| {
        s.limits.inbox_bytes = ByteSize::kib(4);
        s.limits.inbox_timeout = Duration::from_secs(100);
        s.keepalive.ping_interval = Duration::from_secs(5);
        s.keepalive.pong_timeout = Duration::from_secs(5);
    });
    let backend = Backend::handler("stuck", Stuck);
    let (connection, mut peer) = piped_to(&supervisor, backend, 1024, settings).await;
    let began = Instant::now();
    let mut sent = 0;
    while peer.try_send(Frame::binary(vec![0; 1000]), Duration::from_secs(1)).await {
        sent += 1;
    }
    // The inbox, one in the handler's hands, the pipe, and what one read brings.
    assert!((4..10).contains(&sent), "{sent} messages were taken");
    let ending = ended(&supervisor, &connection).await;
    assert_limit(&ending, Kind::BackendFailed, "inbox_timeout");
    let lived = began.elapsed();
    assert!((100..115).contains(&lived.as_secs()), "{lived:?}");
    assert_eq!(peer.read().await.opcode, PING);
}

/// Takes a message a second.
struct Slow(Arc<AtomicUsize>);

impl Handler for Slow {
    async fn on_message(
        &mut self,
        _connection: &ConnectionHandle,
        _message: Message,
    ) -> Result<(), HandlerFailure> {
        self.0.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_is_slow_but_takes_is_not_blamed() {
    let supervisor = supervisor().await;
    let settings = settings(|s| {
        s.limits.inbox_bytes = ByteSize::kib(4);
        s.limits.inbox_timeout = Duration::from_secs(3);
    });
    let taken = Arc::new(AtomicUsize::new(0));
    let backend = Backend::handler("slow", Slow(Arc::clone(&taken)));
    let (connection, mut peer) = piped_to(&supervisor, backend, 1024, settings).await;
    for _ in 0..60 {
        peer.send(Frame::binary(vec![0; 1000])).await;
    }
    peer.send(Frame::close(1000, "")).await;
    peer.expect_close().await;
    drop(peer);
    let ending = ended(&supervisor, &connection).await;
    assert!(ending.is_clean(), "{ending}");
    let traffic = ending.traffic.as_ref().unwrap();
    assert_eq!(traffic.messages_in, 60);
    assert_eq!(traffic.discarded_messages + taken.load(Ordering::SeqCst) as u64, 60);
}

#[tokio::test]
async fn an_echo_whose_peer_does_not_read_is_the_peers_fault() {
    let supervisor = supervisor().await;
    let settings = settings(|s| s.limits.write_timeout = Duration::from_secs(1));
    let (adopt, mut peer) = socket(Role::Server, settings).await;
    let connection = supervisor.adopt(adopt, Backend::echo()).await.unwrap();
    fill(&mut peer).await;
    let ending = ended(&supervisor, &connection).await;
    assert_limit(&ending, Kind::SlowConsumer, "write_timeout");
    let outcome = &ending.outcome;
    assert_eq!((outcome.fault, outcome.cause), (Fault::Peer, Cause::SlowConsumer));
    assert_eq!((outcome.first_close, sent_code(&ending)), (FirstClose::None, None));
    assert_eq!(outcome.transport_end, Some(TransportEnd::Local));
    let traffic = ending.traffic.as_ref().unwrap();
    let known = traffic.messages_out + traffic.undelivered_messages + traffic.discarded_messages;
    assert_eq!(traffic.messages_in, known, "{traffic:?}");
    // What waited was bounded by outbox_bytes, and the message that crossed it.
    assert!(traffic.undelivered_bytes <= (256 + 16) * 1024, "{traffic:?}");
}

#[tokio::test]
async fn a_reset_is_noticed_while_reading_has_stopped() {
    let supervisor = supervisor().await;
    let settings = settings(|s| s.limits.inbox_bytes = ByteSize::kib(64));
    let (adopt, mut peer) = socket(Role::Server, settings).await;
    let connection = supervisor.adopt(adopt, Backend::handler("stuck", Stuck)).await.unwrap();
    fill(&mut peer).await;
    let began = Instant::now();
    peer.reset();
    let ending = ended(&supervisor, &connection).await;
    assert_eq!(ending.outcome.kind, Kind::ConnectionReset);
    // A look takes at most 250 ms; the handler then has `close.linger`.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let traffic = ending.traffic.as_ref().unwrap();
    assert_eq!(traffic.messages_in, traffic.discarded_messages + 1, "{traffic:?}");
}
