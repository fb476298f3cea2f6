//! `send` and `try_send`: what is accepted, what is refused, what is counted.

use std::time::Duration;

use lastword::settings::{ByteSize, OnFull};
use lastword::vocabulary::{Cause, CloseState, Kind, Role};
use lastword::{Backend, ConnectionHandle, Incoming, SendError, Supervisor};

use super::stage::{
    Pipe, assert_limit, ended, piped, piped_replying, sent_code, settings, socket, soon, supervisor,
};
use crate::support::frame::Frame;

/// What a message of 98 bytes takes in an outbox: its payload, an allocation and a slot. Bytes.
const HELD: usize = 98 + 48 + 64;

/// A connection whose outbox holds three messages and whose pipe holds one, and with which policy.
async fn narrow(
    supervisor: &Supervisor,
    on_full: OnFull,
) -> (ConnectionHandle, lastword::Receiver, Pipe) {
    let settings = settings(|s| {
        s.limits.outbox_bytes = ByteSize(3 * HELD as u64);
        s.limits.on_full = on_full;
    });
    piped(supervisor, Role::Server, 100, settings).await
}

/// A message of 98 bytes, which makes a frame of 100.
fn hundred(n: u32) -> String {
    format!("{n:098}")
}

/// Sends numbered messages; one is in the pipe, so four fit.
async fn fill(connection: &ConnectionHandle) {
    connection.try_send(hundred(0)).unwrap();
    while connection.queued_bytes() > 0 {
        tokio::task::yield_now().await;
    }
    for n in 1..4 {
        connection.try_send(hundred(n)).unwrap();
    }
    assert_eq!(connection.queued_bytes(), 300);
}

#[tokio::test]
async fn refuse_gives_the_message_back_and_the_connection_goes_on() {
    let supervisor = supervisor().await;
    let (connection, _messages, mut peer) = narrow(&supervisor, OnFull::Refuse).await;
    fill(&connection).await;
    let refused = connection.try_send(hundred(4)).unwrap_err();
    assert_eq!(refused.error, SendError::Full { queued: 3 * HELD, limit: 3 * HELD });
    assert_eq!(refused.message.as_text(), Some(hundred(4).as_str()));
    for n in 0..4 {
        peer.expect_text(&hundred(n)).await;
    }
    connection.try_send(hundred(5)).unwrap();
    peer.expect_text(&hundred(5)).await;
    connection.close_output(1000, "").unwrap();
    peer.expect_close().await;
    peer.send(Frame::close(1000, "")).await;
    drop(peer);
    let ending = ended(&supervisor, &connection).await;
    let traffic = ending.traffic.as_ref().unwrap();
    assert!(ending.is_clean());
    assert_eq!((traffic.messages_out, traffic.undelivered_messages), (5, 0));
}

#[tokio::test]
async fn close_ends_it_as_a_slow_consumer_with_1013() {
    let supervisor = supervisor().await;
    let (connection, _messages, mut peer) = narrow(&supervisor, OnFull::Close).await;
    fill(&connection).await;
    let refused = connection.try_send(hundred(4)).unwrap_err();
    assert_eq!(refused.error, SendError::Full { queued: 3 * HELD, limit: 3 * HELD });
    let refused = connection.try_send(hundred(5)).unwrap_err().error;
    assert_eq!(refused, SendError::InvalidState { state: CloseState::CloseSent });
    peer.expect_text(&hundred(0)).await;
    // What had not begun to leave makes way for the Close.
    let frames = peer.rest().await;
    let (close, messages) = frames.split_last().unwrap();
    assert_eq!(close.close_code_and_reason().0, Some(1013));
    drop(peer);
    let ending = ended(&supervisor, &connection).await;
    assert_limit(&ending, Kind::SlowConsumer, "outbox_bytes");
    assert_eq!((ending.outcome.cause, sent_code(&ending)), (Cause::SlowConsumer, Some(1013)));
    let traffic = ending.traffic.as_ref().unwrap();
    assert_eq!(traffic.messages_out, 1 + messages.len() as u64);
    assert_eq!(traffic.messages_out + traffic.undelivered_messages, 4);
}

#[tokio::test]
async fn drop_oldest_keeps_the_newest_and_counts_the_others() {
    let supervisor = supervisor().await;
    let (connection, _messages, mut peer) = narrow(&supervisor, OnFull::DropOldest).await;
    fill(&connection).await;
    for n in 4..10 {
        connection.try_send(hundred(n)).unwrap();
        assert_eq!(connection.queued_bytes(), 300);
    }
    for n in [0, 7, 8, 9] {
        peer.expect_text(&hundred(n)).await;
    }
    connection.abort();
    let ending = ended(&supervisor, &connection).await;
    let traffic = ending.traffic.as_ref().unwrap();
    assert_eq!((traffic.messages_out, traffic.bytes_out), (4, 4 * 98));
    assert_eq!((traffic.undelivered_messages, traffic.undelivered_bytes), (6, 6 * 98));
}

#[tokio::test]
async fn drop_newest_keeps_the_oldest_and_counts_the_others() {
    let supervisor = supervisor().await;
    let (connection, _messages, mut peer) = narrow(&supervisor, OnFull::DropNewest).await;
    fill(&connection).await;
    for n in 4..10 {
        connection.try_send(hundred(n)).unwrap();
    }
    for n in 0..4 {
        peer.expect_text(&hundred(n)).await;
    }
    connection.close_output(1000, "").unwrap();
    assert!(connection.try_send("late").is_err());
    peer.expect_close().await;
    drop(peer);
    let ending = ended(&supervisor, &connection).await;
    let traffic = ending.traffic.as_ref().unwrap();
    assert_eq!((traffic.messages_out, traffic.undelivered_messages), (4, 6));
}

#[tokio::test(start_paused = true)]
async fn send_waits_for_room_and_a_dropped_one_was_not_sent() {
    let supervisor = supervisor().await;
    let (connection, _messages, mut peer) = narrow(&supervisor, OnFull::Refuse).await;
    fill(&connection).await;
    let patience = Duration::from_secs(5);
    let dropped = tokio::time::timeout(patience, connection.send(hundred(98))).await;
    assert!(dropped.is_err());
    let sender = connection.clone();
    let waiting = tokio::spawn(async move {
        for n in 4..20 {
            sender.send(hundred(n)).await.unwrap();
        }
    });
    for n in 0..20 {
        peer.expect_text(&hundred(n)).await;
    }
    waiting.await.unwrap();
}

#[tokio::test]
async fn what_did_not_leave_whole_is_counted_to_the_byte() {
    let supervisor = supervisor().await;
    let (connection, _messages, peer) =
        piped(&supervisor, Role::Server, 100, settings(|_| {})).await;
    for _ in 0..10 {
        connection.try_send(vec![0; 50]).unwrap();
    }
    // The pipe takes one frame of 52 bytes, and 48 of the next.
    while connection.queued_bytes() > 9 * 52 {
        tokio::task::yield_now().await;
    }
    connection.abort();
    let ending = ended(&supervisor, &connection).await;
    drop(peer);
    let traffic = ending.traffic.as_ref().unwrap();
    assert_eq!((traffic.messages_out, traffic.bytes_out), (1, 50));
    assert_eq!((traffic.undelivered_messages, traffic.undelivered_bytes), (9, 450));
    assert!(traffic.oldest_queued.is_some());
}

#[tokio::test]
async fn sending_is_refused_with_the_state_once_a_close_was_accepted() {
    let supervisor = supervisor().await;
    let (connection, _messages, mut peer) =
        piped(&supervisor, Role::Server, 1024, settings(|_| {})).await;
    let invalid = |state| SendError::InvalidState { state };
    let ending = connection.close(1000, "").unwrap();
    assert_eq!(connection.send("late").await, Err(invalid(CloseState::CloseSent)));
    let refused = connection.try_send("late").unwrap_err();
    assert_eq!((refused.error, refused.message), (invalid(CloseState::CloseSent), "late".into()));
    peer.expect_close().await;
    peer.send(Frame::close(1000, "")).await;
    drop(peer);
    assert!(soon("the ending", ending).await.is_clean());
    let ended = SendError::Ended { kind: Kind::Clean };
    assert_eq!(connection.send("late").await, Err(ended));
    assert_eq!(connection.state(), CloseState::Closed);

    // Until the reply to the peer's Close is chosen, data may still be sent.
    let (connection, mut messages, mut peer) = piped_replying(&supervisor, settings(|_| {})).await;
    peer.send(Frame::close(1000, "")).await;
    assert!(matches!(messages.receive().await, Ok(Incoming::Close(_))));
    connection.send("last words").await.unwrap();
    connection.close_output(4000, "done").unwrap();
    assert!(connection.send("late").await.is_err());
    peer.expect_text("last words").await;
    assert_eq!(peer.expect_close().await, (Some(4000), "done".to_owned()));
}

#[tokio::test]
async fn a_large_message_passes_both_ways_in_both_roles() {
    let supervisor = supervisor().await;
    for role in [Role::Server, Role::Client] {
        for mib in [1, 16] {
            let settings = settings(|s| {
                s.limits.max_message_size = ByteSize::mib(mib);
                s.limits.max_frame_size = ByteSize::mib(mib);
            });
            let (adopt, mut peer) = socket(role, settings).await;
            let (connection, mut messages) = supervisor.adopt_receiving(adopt).await.unwrap();
            let payload: Vec<u8> = (0..mib << 20).map(|n| (n % 251) as u8).collect();
            let (_, received) = tokio::join!(peer.binary(payload.clone()), messages.receive());
            match received {
                Ok(Incoming::Message(message)) => assert!(message.payload() == &payload),
                other => panic!("{other:?}"),
            }
            connection.send(payload.clone()).await.unwrap();
            let frame = peer.read_frame(Duration::from_secs(30)).await;
            assert!(frame.payload == payload && frame.fin, "{frame:?}");
            drop(peer);
            let ending = ended(&supervisor, &connection).await;
            let traffic = ending.traffic.as_ref().unwrap();
            assert_eq!((traffic.bytes_in, traffic.bytes_out), (mib << 20, mib << 20));
        }
    }
}

#[tokio::test]
async fn a_stalled_send_of_an_embedder_ends_as_a_slow_consumer() {
    let supervisor = supervisor().await;
    let settings = settings(|s| s.limits.write_timeout = Duration::from_millis(300));
    let (adopt, _peer) = socket(Role::Server, settings).await;
    let connection = supervisor.adopt(adopt, Backend::echo()).await.unwrap();
    let sending = async { while connection.send(vec![0; 100_000]).await.is_ok() {} };
    soon("sending to end", sending).await;
    let ending = ended(&supervisor, &connection).await;
    assert_limit(&ending, Kind::SlowConsumer, "write_timeout");
}
