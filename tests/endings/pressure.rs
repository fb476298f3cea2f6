//! Peers and backends that do not keep up, and peers that send too often.

use lastword::settings::{ByteSize, OnFull};
use lastword::vocabulary::{Cause, CloseState, Fault, FirstClose, Kind, TransportEnd};
use lastword::{Backend, ConnectionHandle, Handler, HandlerFailure, Message, SendError};

use super::stage::{BOTH, BRIEF, Scene, TOO_MUCH, Verdict, ended, opposite, said, settings};
use crate::support::SOON;
use crate::support::frame::Frame;
use crate::support::raw_peer::End;

#[tokio::test]
async fn a_full_outbox_refuses_and_the_connection_goes_on() {
    for role in BOTH {
        let mut scene = Scene::open(role, settings(|_| {})).await;
        scene.send_too_much().await;
        // One message is always admitted; now it is full.
        let refused = scene.connection.try_send("more").unwrap_err();
        assert!(matches!(refused.error, SendError::Full { .. }), "{refused}");
        assert_eq!(refused.message.as_text(), Some("more"));
        let (connection, peer) = (&scene.connection, &mut scene.peer);
        let (sent, ()) = tokio::join!(connection.send("more"), async {
            assert_eq!(peer.read_frame(SOON).await.payload.len(), TOO_MUCH);
            peer.expect_text("more").await;
        });
        assert_eq!((sent, connection.state()), (Ok(()), CloseState::Open));
    }
}

#[tokio::test]
async fn a_full_outbox_ends_it_as_slow_consumer_with_1013_where_on_full_is_close() {
    for role in BOTH {
        let mut scene = Scene::open(role, settings(|s| s.limits.on_full = OnFull::Close)).await;
        scene.send_too_much().await;
        assert!(scene.connection.try_send("one too many").is_err());
        assert_eq!(scene.peer.read_frame(SOON).await.payload.len(), TOO_MUCH);
        let (code, reason) = scene.peer.expect_close(SOON).await;
        assert_eq!(code, Some(1013));
        scene.peer.fin().await;
        assert_eq!(scene.peer.expect_end(SOON).await, End::Fin);
        let ending = scene.ended().await;
        let verdict = Verdict {
            kind: Kind::SlowConsumer,
            fault: Fault::Peer,
            first_close: FirstClose::Local,
            cause: Cause::SlowConsumer,
            state: CloseState::CloseSent,
            transport_end: TransportEnd::Fin,
            close_code: 1006,
            close_sent: said(1013, &reason),
            close_received: None,
        };
        verdict.assert(&ending, role);
        assert_eq!(ending.outcome.limit.as_ref().unwrap().name, "outbox_bytes");
    }
}

#[tokio::test]
async fn messages_that_give_way_in_a_full_outbox_count_as_undelivered() {
    let (second, third) = ("2".repeat(100), "3".repeat(100));
    for (on_full, left) in [(OnFull::DropOldest, &third), (OnFull::DropNewest, &second)] {
        for role in BOTH {
            let full = settings(|s| {
                s.limits.on_full = on_full;
                s.limits.outbox_bytes = ByteSize(TOO_MUCH as u64 + 400);
            });
            let mut scene = Scene::open(role, full).await;
            scene.send_too_much().await;
            // The first has begun to leave and stays; of the others one fits.
            scene.peer.await_bytes().await;
            scene.connection.try_send(&*second).unwrap();
            scene.connection.try_send(&*third).unwrap();
            scene.connection.close_output(1000, "bye").unwrap();
            assert_eq!(scene.peer.read_frame(SOON).await.payload.len(), TOO_MUCH);
            scene.peer.expect_text(left).await;
            scene.peer.expect_close(SOON).await;
            scene.peer.close(1000, "bye").await;
            scene.part().await;
            let ending = scene.ended().await;
            let traffic = ending.traffic.as_ref().unwrap();
            assert_eq!((traffic.messages_out, traffic.undelivered_messages), (2, 1), "{on_full:?}");
        }
    }
}

#[tokio::test]
async fn an_echo_whose_peer_does_not_read_ends_as_slow_consumer() {
    for role in BOTH {
        let stalls = settings(|s| s.limits.write_timeout = BRIEF);
        let mut scene = Scene::with_backend(role, stalls, Backend::echo()).await;
        let message = Frame::binary(vec![0; 64 * 1024]).encode(opposite(role));
        let peer = &mut scene.peer;
        let talk = async { while peer.try_send_raw(&message).await.is_ok() {} };
        let ending = tokio::select! {
            ending = ended(&scene.connection) => ending,
            () = talk => ended(&scene.connection).await,
        };
        assert_eq!(ending.outcome.kind, Kind::SlowConsumer, "{ending}");
        assert_eq!(ending.outcome.limit.as_ref().unwrap().name, "write_timeout");
    }
}

#[tokio::test]
async fn a_receiver_that_takes_nothing_ends_it_as_backend_failed() {
    for role in BOTH {
        let stuck = settings(|s| {
            s.limits.inbox_bytes = ByteSize(1);
            s.limits.inbox_timeout = BRIEF;
        });
        let mut scene = Scene::open(role, stuck).await;
        scene.peer.send_frames(["one", "two", "three"].map(Frame::text)).await;
        let (code, reason) = scene.peer.expect_close(SOON).await;
        assert_eq!(code, Some(1011));
        scene.peer.close(1011, &reason).await;
        scene.part().await;
        let ending = scene.ended().await;
        let verdict = Verdict {
            kind: Kind::BackendFailed,
            fault: Fault::Backend,
            first_close: FirstClose::Local,
            cause: Cause::Backend,
            state: CloseState::Closed,
            transport_end: TransportEnd::Fin,
            close_code: 1011,
            close_sent: said(1011, &reason),
            close_received: said(1011, &reason),
        };
        verdict.assert(&ending, role);
        assert_eq!(ending.outcome.limit.as_ref().unwrap().name, "inbox_timeout");
    }
}

/// Fails at its first message.
struct Fails;

impl Handler for Fails {
    async fn on_message(
        &mut self,
        _connection: &ConnectionHandle,
        message: Message,
    ) -> Result<(), HandlerFailure> {
        message.as_text().unwrap_or_default().parse::<u32>()?;
        Ok(())
    }
}

#[tokio::test]
async fn a_handler_that_fails_ends_it_as_backend_failed() {
    for role in BOTH {
        let backend = Backend::handler("fails", Fails);
        let mut scene = Scene::with_backend(role, settings(|_| {}), backend).await;
        scene.peer.send_frames(["1", "no number", "2"].map(Frame::text)).await;
        let (code, reason) = scene.peer.expect_close(SOON).await;
        assert_eq!(code, Some(1011));
        scene.peer.close(1011, &reason).await;
        scene.part().await;
        let ending = scene.ended().await;
        assert_eq!(ending.outcome.kind, Kind::BackendFailed);
        assert!(ending.outcome.detail.contains("invalid digit"), "{ending}");
        let traffic = ending.traffic.as_ref().unwrap();
        assert_eq!((traffic.messages_in, traffic.discarded_messages), (3, 1));
    }
}

#[tokio::test]
async fn a_peer_that_sends_too_often_is_closed_with_1013() {
    for role in BOTH {
        let limited = settings(|s| s.limits.messages_per_second = 5);
        let mut scene = Scene::open(role, limited).await;
        scene.peer.send_frames((0..50).map(|_| Frame::text("spam"))).await;
        let (code, reason) = scene.peer.expect_close(SOON).await;
        assert_eq!(code, Some(1013));
        scene.peer.close(1013, &reason).await;
        scene.part().await;
        let ending = scene.ended().await;
        assert!(ending.is_clean(), "{ending}");
        assert_eq!(ending.outcome.cause, Cause::RateLimited);
        let limit = ending.outcome.limit.as_ref().unwrap();
        assert_eq!((limit.name, limit.limit), ("messages_per_second", 5));
        let traffic = ending.traffic.as_ref().unwrap();
        assert_eq!(traffic.messages_in, 50);
        // On a slow machine a message more may have been allowed meanwhile.
        assert!((1..=45).contains(&traffic.discarded_messages), "{traffic:?}");
    }
}
