//! Time during which this process was stopped (SIGSTOP, a suspended machine) does not count against
//! the peer.

use std::time::Duration;

use lastword::Backend;
use lastword::settings::ByteSize;
use lastword::vocabulary::{CloseState, Kind, Role};
use tokio::time::{advance, sleep};

use super::stage::{ended, piped, piped_to, settings, soon, supervisor};
use crate::support::frame::{Frame, PING};

const STOPPED_FOR: Duration = Duration::from_secs(60);
/// The connection is at rest again, and waits.
const A_MOMENT: Duration = Duration::from_millis(10);

#[tokio::test(start_paused = true)]
async fn a_pong_that_is_read_late_is_in_time() {
    let supervisor = supervisor().await;
    let settings = settings(|s| s.keepalive.ping_interval = Duration::from_secs(25));
    let (connection, _messages, mut peer) = piped(&supervisor, Role::Server, 1024, settings).await;
    let ping = peer.read().await;
    assert_eq!(ping.opcode, PING);
    sleep(A_MOMENT).await;
    advance(STOPPED_FOR).await;
    sleep(Duration::from_secs(15)).await;
    assert_eq!(connection.state(), CloseState::Open);
    peer.send(Frame::pong(ping.payload)).await;
    sleep(Duration::from_secs(15)).await;
    assert_eq!(connection.state(), CloseState::Open);
    // Who is silent to the end is given up.
    let ending = soon("the ending", connection.ended()).await;
    assert_eq!(ending.outcome.kind, Kind::PongTimeout);
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_our_close_that_is_read_late_is_in_time() {
    let supervisor = supervisor().await;
    let (connection, _messages, mut peer) =
        piped(&supervisor, Role::Server, 1024, settings(|_| {})).await;
    connection.close_output(1000, "bye").unwrap();
    peer.expect_close().await;
    sleep(A_MOMENT).await;
    advance(STOPPED_FOR).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(connection.state(), CloseState::CloseSent);
    peer.send(Frame::close(1000, "bye")).await;
    drop(peer);
    assert!(ended(&supervisor, &connection).await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_reader_is_not_slow_because_we_were_stopped() {
    let supervisor = supervisor().await;
    let (connection, mut peer) = piped_to(&supervisor, Backend::none(), 64, settings(|_| {})).await;
    connection.send("x".repeat(1000)).await.unwrap();
    sleep(A_MOMENT).await;
    advance(STOPPED_FOR).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(connection.state(), CloseState::Open);
    peer.expect_text(&"x".repeat(1000)).await;
    assert_eq!(connection.state(), CloseState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_backend_has_not_stalled_because_we_were_stopped() {
    let supervisor = supervisor().await;
    let settings = settings(|s| s.limits.inbox_bytes = ByteSize(1));
    let (connection, mut messages, mut peer) =
        piped(&supervisor, Role::Server, 1024, settings).await;
    peer.text("one").await;
    peer.text("two").await;
    sleep(A_MOMENT).await;
    advance(STOPPED_FOR).await;
    sleep(Duration::from_secs(20)).await;
    assert_eq!(connection.state(), CloseState::Open);
    messages.receive().await.unwrap();
    messages.receive().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn idleness_and_age_go_on() {
    let supervisor = supervisor().await;
    let settings = settings(|s| s.keepalive.idle_timeout = Duration::from_secs(30));
    let (_connection, _messages, mut peer) = piped(&supervisor, Role::Server, 1024, settings).await;
    sleep(A_MOMENT).await;
    advance(STOPPED_FOR).await;
    assert_eq!(peer.expect_close().await.0, Some(3008));
}
