//! The reply that a handler chooses, and closes that race.

use std::time::Duration;

use lastword::vocabulary::{
    Cause, CloseCode, CloseFrame, CloseState, FirstClose, Kind, ReceivedClose, Role,
};
use lastword::{
    Backend, CloseReply, ConnectionHandle, DrainOptions, Handler, HandlerFailure, Incoming, Message,
};
use tokio::time::Instant;

use super::stage::{ended, piped, piped_replying, piped_to, sent_code, settings, soon, supervisor};
use crate::support::frame::{CLOSE, Frame};

/// Says a few words, waits, and answers.
struct Answers {
    after: Duration,
    with: CloseReply,
}

impl Handler for Answers {
    const CHOOSES_REPLY: bool = true;

    async fn on_message(
        &mut self,
        _connection: &ConnectionHandle,
        _message: Message,
    ) -> Result<(), HandlerFailure> {
        Ok(())
    }

    async fn on_close(
        &mut self,
        connection: &ConnectionHandle,
        _close: &ReceivedClose,
    ) -> Result<CloseReply, HandlerFailure> {
        connection.send("wait").await?;
        tokio::time::sleep(self.after).await;
        Ok(self.with.clone())
    }
}

fn with(code: u16) -> CloseReply {
    CloseReply::With(CloseFrame::coded(CloseCode::new(code).unwrap(), "mine"))
}

#[tokio::test(start_paused = true)]
async fn a_handler_chooses_and_delays_the_reply() {
    let supervisor = supervisor().await;
    for (after, reply, code, reason) in [
        (0, with(4000), 4000, "mine"),
        (7, with(4000), 4000, "mine"),
        (7, CloseReply::InKind, 3000, "theirs"),
        // Too late: answered in kind while the reply can still leave in time.
        (60, with(4000), 3000, "theirs"),
    ] {
        let after = Duration::from_secs(after);
        let backend = Backend::handler("answers", Answers { after, with: reply });
        let (connection, mut peer) = piped_to(&supervisor, backend, 1024, settings(|_| {})).await;
        let began = Instant::now();
        peer.send(Frame::close(3000, "theirs")).await;
        peer.expect_text("wait").await;
        assert_eq!(peer.expect_close().await, (Some(code), reason.to_owned()));
        let waited = began.elapsed();
        assert!(waited >= after.min(Duration::from_secs(8)), "{waited:?}");
        assert!(waited < Duration::from_secs(10), "{waited:?}");
        drop(peer);
        let ending = ended(&supervisor, &connection).await;
        assert!(ending.is_clean(), "{ending}");
        assert_eq!(
            (ending.outcome.first_close, ending.outcome.cause),
            (FirstClose::Peer, Cause::Peer)
        );
        assert_eq!((sent_code(&ending), ending.outcome.close_code()), (Some(code), Some(3000)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_does_not_come_is_replaced_in_time_also_without_linger() {
    let supervisor = supervisor().await;
    for linger in [Duration::ZERO, Duration::from_millis(1)] {
        let settings = settings(|s| s.close.linger = linger);
        let (connection, _messages, mut peer) = piped_replying(&supervisor, settings).await;
        peer.send(Frame::close(1000, "bye")).await;
        assert_eq!(peer.expect_close().await, (Some(1000), "bye".to_owned()));
        drop(peer);
        assert!(ended(&supervisor, &connection).await.is_clean());
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_that_no_receiver_will_see_is_answered_at_once() {
    let supervisor = supervisor().await;
    for dropped_first in [true, false] {
        let (connection, messages, mut peer) = piped_replying(&supervisor, settings(|_| {})).await;
        let began = Instant::now();
        let messages = (!dropped_first).then_some(messages);
        peer.send(Frame::close(4000, "off")).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        drop(messages);
        assert_eq!(peer.expect_close().await, (Some(4000), "off".to_owned()));
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        drop(peer);
        assert!(ended(&supervisor, &connection).await.is_clean());
    }
}

#[tokio::test]
async fn the_reply_in_kind_repeats_code_and_reason_and_is_empty_for_empty() {
    let supervisor = supervisor().await;
    for close in [Frame::close(1001, "leaving"), Frame::close(4999, ""), Frame::close_empty()] {
        let backend = Backend::echo();
        let (connection, mut peer) = piped_to(&supervisor, backend, 1024, settings(|_| {})).await;
        peer.send(close.clone()).await;
        let reply = peer.read().await;
        assert_eq!((reply.opcode, &reply.payload), (CLOSE, &close.payload));
        drop(peer);
        assert!(ended(&supervisor, &connection).await.is_clean());
    }
}

#[tokio::test]
async fn the_id_is_appended_to_reasons_of_our_own() {
    let supervisor = supervisor().await;
    let settings = settings(|s| {
        s.close.reason_id = true;
        s.limits.messages_per_second = 1;
    });
    let (connection, _messages, mut peer) =
        piped(&supervisor, Role::Server, 1024, settings.clone()).await;
    let id = connection.id().to_string();
    let short = &id[id.len() - 12..];
    peer.text("1").await;
    peer.text("2").await;
    assert_eq!(peer.expect_close().await, (Some(1013), format!("rate limited [{short}]")));

    // A reason of the caller's stays as it is.
    let (connection, _messages, mut peer) = piped(&supervisor, Role::Server, 1024, settings).await;
    connection.close_output(1000, "bye").unwrap();
    assert_eq!(peer.expect_close().await, (Some(1000), "bye".to_owned()));
}

#[tokio::test]
async fn dropping_the_future_of_a_close_stops_nothing() {
    let supervisor = supervisor().await;
    let (connection, _messages, mut peer) =
        piped(&supervisor, Role::Server, 1024, settings(|_| {})).await;
    drop(connection.close(1000, "bye").unwrap());
    assert_eq!(connection.state(), CloseState::CloseSent);
    assert_eq!(peer.expect_close().await, (Some(1000), "bye".to_owned()));
    peer.send(Frame::close(1000, "bye")).await;
    drop(peer);
    assert!(ended(&supervisor, &connection).await.is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_closes_are_one_frame_and_one_ending() {
    for _ in 0..20 {
        let supervisor = supervisor().await;
        let (connection, _messages, mut peer) =
            piped(&supervisor, Role::Server, 1024, settings(|_| {})).await;
        let mut closes = tokio::task::JoinSet::new();
        for n in 0..100 {
            let connection = connection.clone();
            closes.spawn(async move { connection.close(4000 + n, "").unwrap().await });
        }
        let (code, _) = peer.expect_close().await;
        peer.send(Frame::close(1000, "")).await;
        peer.fin().await;
        assert!(peer.rest().await.is_empty(), "a frame after our Close");
        let ending = ended(&supervisor, &connection).await;
        assert!(ending.is_clean(), "{ending}");
        assert_eq!(sent_code(&ending), code);
        while let Some(other) = soon("a close to return", closes.join_next()).await {
            assert!(std::sync::Arc::ptr_eq(&other.unwrap(), &ending));
        }
        assert_eq!(supervisor.accounting().ended, 1);
        // At the end, a close is the recorded ending.
        assert_eq!(connection.close(1000, "").unwrap().await.id, ending.id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn closes_and_sends_that_race_leave_no_message_behind_the_close() {
    for _ in 0..50 {
        let supervisor = supervisor().await;
        let (connection, _messages, mut peer) =
            piped(&supervisor, Role::Server, 1 << 20, settings(|_| {})).await;
        let mut senders = tokio::task::JoinSet::new();
        for n in 0..8 {
            let connection = connection.clone();
            senders.spawn(async move {
                let mut accepted = 0;
                while connection.send("m").await.is_ok() {
                    accepted += 1;
                    if n == 0 && accepted == 20 {
                        connection.close_output(1000, "").unwrap();
                    }
                }
                accepted
            });
        }
        let mut seen = 0;
        while peer.read().await.opcode != CLOSE {
            seen += 1;
        }
        let mut accepted = 0;
        while let Some(sender) = soon("the senders", senders.join_next()).await {
            accepted += sender.unwrap();
        }
        assert_eq!(seen, accepted);
        peer.send(Frame::close(1000, "")).await;
        peer.fin().await;
        assert!(peer.rest().await.is_empty());
        let ending = ended(&supervisor, &connection).await;
        assert_eq!(ending.traffic.as_ref().unwrap().messages_out, accepted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_the_reply_of_one_who_does_not_choose() {
    let supervisor = supervisor().await;
    let (connection, mut messages, mut peer) = piped_replying(&supervisor, settings(|_| {})).await;
    peer.send(Frame::close(1000, "theirs")).await;
    assert!(matches!(messages.receive().await, Ok(Incoming::Close(_))));
    let draining = supervisor.drain(DrainOptions::default());
    let answering = async {
        let close = peer.expect_close().await;
        drop(peer);
        close
    };
    let (_report, close) = tokio::join!(draining, answering);
    assert_eq!(close, (Some(1012), "service restart".to_owned()));
    let ending = ended(&supervisor, &connection).await;
    assert_eq!((ending.outcome.kind, ending.outcome.cause), (Kind::Clean, Cause::Peer));
}

#[tokio::test]
async fn waits_without_end_are_cut_to_what_the_clock_can_hold() {
    let supervisor = supervisor().await;
    let endless = settings(|s| {
        let forever = Duration::MAX;
        s.limits.write_timeout = forever;
        s.limits.inbox_timeout = forever;
        s.keepalive.ping_interval = forever;
        s.keepalive.pong_timeout = forever;
        s.keepalive.idle_timeout = forever;
        s.keepalive.max_age = forever;
        s.close.timeout = forever;
        s.close.linger = forever;
    });
    let (connection, _messages, mut peer) = piped(&supervisor, Role::Server, 1000, endless).await;
    connection.close_output(1000, "bye").unwrap();
    peer.expect_close().await;
    peer.send(Frame::close(1000, "bye")).await;
    drop(peer);
    assert!(ended(&supervisor, &connection).await.is_clean());
}
