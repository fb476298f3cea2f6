//! Handlers that wait for the end of their own connection, and what they do behind it.

use std::sync::Arc;
use std::time::Duration;

use lastword::settings::ConnectionSettings;
use lastword::vocabulary::{Kind, ReceivedClose};
use lastword::{
    Backend, CloseReply, ConnectionHandle, DrainOptions, Ending, Handler, HandlerFailure, Message,
    Supervisor,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep};

use super::stage::{Pipe, ended, piped_to, settings, soon, supervisor};
use crate::support::frame::Frame;

/// Which way a handler ends its connection.
#[derive(Debug, Clone, Copy)]
enum How {
    Close,
    CloseOutput,
    Abort,
}

/// Ends its connection at the first message, waits for the ending, and tells of it.
struct Leaves {
    how: How,
    /// What it takes to tell.
    afterwards: Duration,
    tell: UnboundedSender<Arc<Ending>>,
}

impl Handler for Leaves {
    async fn on_message(
        &mut self,
        connection: &ConnectionHandle,
        _message: Message,
    ) -> Result<(), HandlerFailure> {
        let ending = match self.how {
            How::Close => connection.close(1000, "done")?.await,
            How::CloseOutput => {
                connection.close_output(1000, "done")?;
                connection.ended().await
            }
            How::Abort => {
                connection.abort();
                connection.ended().await
            }
        };
        sleep(self.afterwards).await;
        self.tell.send(ending)?;
        Ok(())
    }
}

async fn leaving(
    supervisor: &Supervisor,
    how: How,
    afterwards: Duration,
    settings: ConnectionSettings,
) -> (ConnectionHandle, Pipe, UnboundedReceiver<Arc<Ending>>) {
    let (tell, told) = unbounded_channel();
    let backend = Backend::handler("leaves", Leaves { how, afterwards, tell });
    let (connection, peer) = piped_to(supervisor, backend, 4096, settings).await;
    (connection, peer, told)
}

#[tokio::test(start_paused = true)]
async fn a_handler_can_wait_for_its_own_ending() {
    for linger in [Duration::from_secs(2), Duration::ZERO] {
        for how in [How::Close, How::CloseOutput, How::Abort] {
            let supervisor = supervisor().await;
            let settings = settings(|s| s.close.linger = linger);
            let (connection, mut peer, mut told) =
                leaving(&supervisor, how, Duration::from_millis(100), settings).await;
            peer.text("bye").await;
            if !matches!(how, How::Abort) {
                assert_eq!(peer.expect_close().await, (Some(1000), "done".to_owned()));
                peer.send(Frame::close(1000, "done")).await;
            }
            let began = Instant::now();
            peer.fin().await;
            let ending = ended(&supervisor, &connection).await;
            assert!(began.elapsed() < Duration::from_millis(50), "{how:?}: {:?}", began.elapsed());
            let aborted = matches!(how, How::Abort);
            assert_eq!(ending.is_clean(), !aborted, "{how:?}: {ending}");
            let seen = soon("what is behind the wait", told.recv()).await;
            assert!(Arc::ptr_eq(&seen.expect("it was dropped"), &ending), "{how:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_it_has_not_taken_by_then_is_discarded_and_counted() {
    let supervisor = supervisor().await;
    // More than the inbox takes: the peer's Close is behind it.
    let settings = settings(|s| s.limits.inbox_bytes = lastword::settings::ByteSize(100));
    let (connection, mut peer, mut told) =
        leaving(&supervisor, How::Close, Duration::ZERO, settings).await;
    peer.text("bye").await;
    assert_eq!(peer.expect_close().await.0, Some(1000));
    for n in 0..10 {
        peer.text(&n.to_string()).await;
    }
    let began = Instant::now();
    peer.send(Frame::close(1000, "done")).await;
    peer.fin().await;
    let ending = ended(&supervisor, &connection).await;
    assert!(began.elapsed() < Duration::from_millis(50), "{:?}", began.elapsed());
    assert!(ending.is_clean(), "{ending}");
    let traffic = ending.traffic.as_ref().unwrap();
    assert_eq!((traffic.messages_in, traffic.discarded_messages), (11, 10));
    soon("what is behind the wait", told.recv()).await.expect("it was dropped");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(supervisor.accounting().ended, 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_does_behind_the_end_is_bounded_and_seen_through_at_shutdown() {
    for (afterwards, completes) in [(1500, true), (2500, false)] {
        let supervisor = supervisor().await;
        let afterwards = Duration::from_millis(afterwards);
        let (connection, mut peer, mut told) =
            leaving(&supervisor, How::Close, afterwards, settings(|_| {})).await;
        peer.text("bye").await;
        peer.expect_close().await;
        peer.send(Frame::close(1000, "done")).await;
        drop(peer);
        assert!(ended(&supervisor, &connection).await.is_clean());
        supervisor.shutdown(DrainOptions::default()).await;
        assert_eq!(told.try_recv().is_ok(), completes, "{afterwards:?}");
    }
}

/// Chooses the answer to the peer's Close after the end, which comes only behind the answer.
struct Contrary;

impl Handler for Contrary {
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
        let ending = connection.ended().await;
        assert_eq!(ending.outcome.kind, Kind::Clean);
        Ok(CloseReply::InKind)
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_end_before_the_answer_gets_it_in_kind() {
    let supervisor = supervisor().await;
    let backend = Backend::handler("contrary", Contrary);
    let (connection, mut peer) = piped_to(&supervisor, backend, 1024, settings(|_| {})).await;
    let began = Instant::now();
    peer.send(Frame::close(4000, "off")).await;
    assert_eq!(peer.expect_close().await, (Some(4000), "off".to_owned()));
    drop(peer);
    assert!(ended(&supervisor, &connection).await.is_clean());
    assert!(began.elapsed() < Duration::from_millis(50), "{:?}", began.elapsed());
}
