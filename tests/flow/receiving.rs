//! What comes is delivered or counted, late as it may be.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lastword::settings::{ByteSize, OnRate};
use lastword::vocabulary::{Cause, CloseState, Fault, Kind, Role};
use lastword::{
    Backend, ConnectionHandle, Handler, HandlerFailure, Incoming, Message, ReceiveError,
};

use super::stage::{
    assert_limit, ended, piped, piped_to, sent_code, settings, soon, supervisor, text_of,
};
use crate::support::frame::{CLOSE, Frame, PING};

#[tokio::test(start_paused = true)]
async fn too_many_messages_are_closed_with_1013_and_not_delivered() {
    let supervisor = supervisor().await;
    let settings = settings(|s| s.limits.messages_per_second = 5);
    let (connection, mut messages, mut peer) =
        piped(&supervisor, Role::Server, 4096, settings).await;
    for n in 0..20 {
        peer.text(&n.to_string()).await;
    }
    assert_eq!(peer.expect_close().await.0, Some(1013));
    peer.send(Frame::close(1013, "")).await;
    drop(peer);
    let ending = ended(&supervisor, &connection).await;
    assert_limit(&ending, Kind::Clean, "messages_per_second");
    assert_eq!((ending.outcome.cause, ending.outcome.fault), (Cause::RateLimited, Fault::None));
    assert_eq!(sent_code(&ending), Some(1013));
    let traffic = ending.traffic.as_ref().unwrap();
    assert_eq!((traffic.messages_in, traffic.discarded_messages), (20, 15));
    for n in 0..5 {
        assert_eq!(text_of(messages.receive().await), n.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn control_frames_and_fragments_count_as_messages() {
    let begin = || Frame::text("").unfinished();
    let fragment = || Frame::continuation([]).unfinished();
    let floods = [
        vec![Frame::ping([]); 6],
        vec![Frame::pong([]); 6],
        [vec![begin()], vec![fragment(); 5]].concat(),
        [vec![begin()], vec![fragment(); 4], vec![Frame::continuation("x")]].concat(),
    ];
    for flood in floods {
        let supervisor = supervisor().await;
        let settings = settings(|s| s.limits.messages_per_second = 5);
        let (connection, _messages, mut peer) =
            piped(&supervisor, Role::Server, 4096, settings).await;
        for frame in &flood[..5] {
            peer.send(frame.clone()).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(connection.state(), CloseState::Open, "{flood:?}");
        peer.send(flood[5].clone()).await;
        let code = loop {
            let frame = peer.read().await;
            if frame.opcode == CLOSE {
                break frame.close_code_and_reason().0;
            }
        };
        assert_eq!(code, Some(1013), "{flood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pong_that_answers_our_ping_is_not_counted() {
    let supervisor = supervisor().await;
    let settings = settings(|s| {
        s.limits.messages_per_second = 1;
        s.keepalive.ping_interval = Duration::from_millis(500);
    });
    let (connection, mut messages, mut peer) =
        piped(&supervisor, Role::Server, 4096, settings).await;
    for n in 0..10 {
        let ping = peer.read().await;
        assert_eq!(ping.opcode, PING);
        peer.send(Frame::pong(ping.payload)).await;
        if n % 3 == 0 {
            peer.text("in between").await;
            messages.receive().await.unwrap();
        }
    }
    assert_eq!(connection.state(), CloseState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_rate_that_is_kept_is_not_limited() {
    let supervisor = supervisor().await;
    let settings = settings(|s| s.limits.messages_per_second = 5);
    let (connection, mut messages, mut peer) =
        piped(&supervisor, Role::Server, 4096, settings).await;
    for _ in 0..20 {
        for n in 0..5 {
            peer.text(&n.to_string()).await;
            messages.receive().await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(1001)).await;
    }
    assert_eq!(connection.state(), CloseState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_too_many_messages_is_slowed_down() {
    let supervisor = supervisor().await;
    let settings = settings(|s| {
        s.limits.messages_per_second = 5;
        s.limits.on_rate = Some(OnRate::Slow);
    });
    let (connection, mut messages, mut peer) =
        piped(&supervisor, Role::Server, 4096, settings).await;
    let began = tokio::time::Instant::now();
    for n in 0..20 {
        peer.text(&n.to_string()).await;
    }
    for n in 0..20 {
        assert_eq!(text_of(messages.receive().await), n.to_string());
    }
    // Five come at once, and each of the others takes a fifth of a second.
    let took = began.elapsed();
    assert!((Duration::from_millis(2800)..Duration::from_millis(3200)).contains(&took), "{took:?}");
    assert_eq!(connection.state(), CloseState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_too_many_bytes_is_slowed_down_and_no_wait_for_it_is_blamed() {
    let supervisor = supervisor().await;
    let settings = settings(|s| {
        s.limits.bytes_per_second = ByteSize(1000);
        s.limits.message_timeout = Duration::from_secs(1);
        s.limits.inbox_timeout = Duration::from_secs(1);
        s.keepalive.ping_interval = Duration::from_secs(2);
        s.keepalive.pong_timeout = Duration::from_secs(1);
    });
    let (connection, mut messages, mut peer) =
        piped(&supervisor, Role::Server, 65536, settings).await;
    let began = tokio::time::Instant::now();
    // The first one waits in the inbox, with a backend that takes nothing.
    peer.text("first").await;
    peer.text(&"x".repeat(9000)).await;
    // It answers no Ping, which may be behind all this.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(connection.state(), CloseState::Open);
    assert_eq!(text_of(messages.receive().await), "first");
    assert_eq!(text_of(messages.receive().await).len(), 9000);
    let took = began.elapsed();
    assert!((Duration::from_millis(7900)..Duration::from_millis(8500)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn too_many_bytes_are_closed_with_1013_where_that_is_set() {
    let supervisor = supervisor().await;
    let settings = settings(|s| {
        s.limits.bytes_per_second = ByteSize(1000);
        s.limits.on_rate = Some(OnRate::Close);
    });
    let (connection, _messages, mut peer) = piped(&supervisor, Role::Server, 4096, settings).await;
    peer.text(&"x".repeat(2000)).await;
    assert_eq!(peer.expect_close().await.0, Some(1013));
    peer.send(Frame::close(1013, "")).await;
    drop(peer);
    let ending = ended(&supervisor, &connection).await;
    assert_limit(&ending, Kind::Clean, "bytes_per_second");
    assert_eq!(ending.outcome.cause, Cause::RateLimited);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_slowed_down_is_closed_in_time() {
    let supervisor = supervisor().await;
    let settings = settings(|s| {
        s.limits.messages_per_second = 1;
        s.limits.on_rate = Some(OnRate::Slow);
        s.close.timeout = Duration::from_secs(5);
    });
    let (connection, _messages, mut peer) = piped(&supervisor, Role::Server, 65536, settings).await;
    for n in 0..100 {
        peer.text(&n.to_string()).await;
    }
    let closing = connection.close(1000, "").unwrap();
    assert_eq!(peer.expect_close().await.0, Some(1000));
    peer.send(Frame::close(1000, "")).await;
    drop(peer);
    assert!(soon("the close", closing).await.is_clean());
    let ending = ended(&supervisor, &connection).await;
    let traffic = ending.traffic.as_ref().unwrap();
    // Nothing comes after its Close, so what it had sent before is let through.
    assert_eq!((traffic.messages_in, traffic.discarded_messages), (100, 0));
}

#[tokio::test]
async fn late_messages_are_delivered_until_the_peers_close() {
    let supervisor = supervisor().await;
    let (connection, mut messages, mut peer) =
        piped(&supervisor, Role::Client, 4096, settings(|_| {})).await;
    connection.close_output(1000, "enough").unwrap();
    assert_eq!(peer.expect_close().await, (Some(1000), "enough".to_owned()));
    for late in ["one", "two", "three"] {
        peer.text(late).await;
        assert_eq!(text_of(messages.receive().await), late);
    }
    let ending = connection.close(1001, "again").unwrap();
    peer.send(Frame::close(1000, "so be it")).await;
    peer.text("ignored").await;
    peer.fin().await;
    let ending = soon("the ending", ending).await;
    assert!(ending.is_clean(), "{ending}");
    assert!(matches!(messages.receive().await, Ok(Incoming::Close(_))));
    assert!(matches!(messages.receive().await, Err(ReceiveError::AfterClose)));
    assert!(peer.rest().await.is_empty());
    assert_eq!(ending.traffic.as_ref().unwrap().messages_in, 3);
}

#[tokio::test]
async fn a_receiver_can_be_read_after_the_end() {
    let supervisor = supervisor().await;
    let (connection, mut messages, mut peer) =
        piped(&supervisor, Role::Server, 4096, settings(|_| {})).await;
    for n in 0..3 {
        peer.text(&n.to_string()).await;
    }
    drop(peer);
    let ending = ended(&supervisor, &connection).await;
    assert_eq!(ending.outcome.kind, Kind::ClosedPrematurely);
    for n in 0..3 {
        assert_eq!(text_of(messages.receive().await), n.to_string());
    }
    for _ in 0..2 {
        let error = messages.receive().await.unwrap_err();
        assert!(Arc::ptr_eq(error.ending().unwrap(), &ending), "{error}");
        assert!(error.to_string().ends_with(&ending.outcome.detail), "{error}");
    }
}

#[tokio::test]
async fn a_receiver_that_is_dropped_discards() {
    let supervisor = supervisor().await;
    let (connection, mut messages, mut peer) =
        piped(&supervisor, Role::Server, 4096, settings(|_| {})).await;
    for n in 0..4 {
        peer.text(&n.to_string()).await;
    }
    messages.receive().await.unwrap();
    drop(messages);
    for n in 0..4 {
        peer.text(&n.to_string()).await;
    }
    peer.send(Frame::close(1000, "")).await;
    peer.expect_close().await;
    drop(peer);
    let ending = ended(&supervisor, &connection).await;
    let traffic = ending.traffic.as_ref().unwrap();
    assert_eq!((traffic.messages_in, traffic.discarded_messages), (8, 7));
}

#[tokio::test(start_paused = true)]
async fn what_reading_has_left_for_want_of_room_is_not_lost() {
    let supervisor = supervisor().await;
    let narrow = settings(|s| s.limits.inbox_bytes = ByteSize::kib(1));
    // The peer has closed and disconnected before anything was received.
    let (connection, mut messages, mut peer) =
        piped(&supervisor, Role::Client, 64 * 1024, narrow.clone()).await;
    for n in 0..50 {
        peer.text(&format!("{n:01000}")).await;
    }
    peer.send(Frame::close(1000, "")).await;
    peer.fin().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    for n in 0..50 {
        assert_eq!(text_of(messages.receive().await), format!("{n:01000}"));
    }
    assert!(matches!(messages.receive().await, Ok(Incoming::Close(_))));
    assert!(ended(&supervisor, &connection).await.is_clean());

    // This end aborts while no receive is pending.
    let (connection, mut messages, mut peer) =
        piped(&supervisor, Role::Client, 64 * 1024, narrow).await;
    for n in 0..50 {
        peer.text(&format!("{n:01000}")).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    connection.abort();
    let ending = ended(&supervisor, &connection).await;
    let traffic = ending.traffic.as_ref().unwrap();
    assert_eq!((traffic.messages_in, traffic.discarded_messages), (50, 0));
    for n in 0..50 {
        assert_eq!(text_of(messages.receive().await), format!("{n:01000}"));
    }
    let error = messages.receive().await.unwrap_err();
    assert_eq!(error.ending().unwrap().outcome.kind, Kind::Aborted);
}

#[tokio::test(start_paused = true)]
async fn a_close_without_a_pending_receive_still_sees_the_answer() {
    let supervisor = supervisor().await;
    let narrow = settings(|s| s.limits.inbox_bytes = ByteSize::kib(1));
    let (connection, mut messages, mut peer) = piped(&supervisor, Role::Server, 1024, narrow).await;
    let feeding = async {
        for n in 0..100 {
            peer.text(&format!("{n:01000}")).await;
        }
        peer.expect_close().await;
        peer.send(Frame::close(1000, "")).await;
        drop(peer);
    };
    let closing = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        connection.close(1000, "").unwrap().await
    };
    let ((), ending) = tokio::join!(feeding, closing);
    assert!(ending.is_clean(), "{ending}");
    let traffic = ending.traffic.as_ref().unwrap();
    assert_eq!(traffic.messages_in, 100);
    let mut received = 0;
    while let Ok(Incoming::Message(_)) = messages.receive().await {
        received += 1;
    }
    assert!(received > 0);
    assert_eq!(received + traffic.discarded_messages, 100);
}

/// Takes a message in 100 ms.
struct Slow(Arc<Mutex<Vec<String>>>);

impl Handler for Slow {
    async fn on_message(
        &mut self,
        _connection: &ConnectionHandle,
        message: Message,
    ) -> Result<(), HandlerFailure> {
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.0.lock().unwrap().push(message.as_text().unwrap().to_owned());
        Ok(())
    }
}

async fn cut_off(linger: Duration) -> (u64, usize) {
    let supervisor = supervisor().await;
    let settings = settings(|s| s.close.linger = linger);
    let handled = Arc::new(Mutex::new(Vec::new()));
    let backend = Backend::handler("slow", Slow(Arc::clone(&handled)));
    let (connection, mut peer) = piped_to(&supervisor, backend, 4096, settings).await;
    for n in 0..10 {
        peer.text(&n.to_string()).await;
    }
    drop(peer);
    let ending = ended(&supervisor, &connection).await;
    assert_eq!(ending.outcome.kind, Kind::ClosedPrematurely);
    let traffic = ending.traffic.as_ref().unwrap();
    assert_eq!(traffic.messages_in, 10);
    let handled = handled.lock().unwrap();
    assert_eq!(*handled, (0..handled.len()).map(|n| n.to_string()).collect::<Vec<_>>());
    (traffic.discarded_messages, handled.len())
}

#[tokio::test(start_paused = true)]
async fn what_came_before_an_abrupt_end_is_still_handed_over_for_a_while() {
    assert_eq!(cut_off(Duration::from_secs(2)).await, (0, 10));
    let (discarded, handled) = cut_off(Duration::from_millis(450)).await;
    // The one that was in its hands when time ran out is neither.
    assert_eq!(discarded as usize + handled + 1, 10, "{discarded} {handled}");
    assert!((3..6).contains(&handled));
}

/// Fails at a message.
struct Failing;

impl Handler for Failing {
    async fn on_message(
        &mut self,
        _connection: &ConnectionHandle,
        message: Message,
    ) -> Result<(), HandlerFailure> {
        message.as_text().unwrap().parse::<u32>()?;
        Ok(())
    }
}

#[tokio::test]
async fn a_handler_that_fails_gets_no_more_messages() {
    let supervisor = supervisor().await;
    let backend = Backend::handler("failing", Failing);
    let (connection, mut peer) = piped_to(&supervisor, backend, 4096, settings(|_| {})).await;
    for text in ["1", "2", "three", "4", "5"] {
        peer.text(text).await;
    }
    assert_eq!(peer.expect_close().await.0, Some(1011));
    peer.text("6").await;
    peer.send(Frame::close(1011, "")).await;
    drop(peer);
    let ending = ended(&supervisor, &connection).await;
    assert_eq!(ending.outcome.kind, Kind::BackendFailed);
    let traffic = ending.traffic.as_ref().unwrap();
    assert_eq!((traffic.messages_in, traffic.discarded_messages), (6, 3));
}
