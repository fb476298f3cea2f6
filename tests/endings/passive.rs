//! The peer closes.

use std::time::Duration;

use lastword::settings::ByteSize;
use lastword::vocabulary::{
    CloseCode, CloseFrame, CloseReason, CloseState, FirstClose, Kind, ReceivedClose, Role,
};
use lastword::{
    Backend, CloseReply, ConnectionHandle, Handler, HandlerFailure, Incoming, Message, SendError,
};
use tokio::sync::mpsc;

use super::stage::{BOTH, Scene, patient, settings, soon};
use crate::support::SOON;
use crate::support::frame::{CLOSE, Frame, PONG, TEXT};

#[tokio::test]
async fn the_peer_s_close_is_answered_at_once_without_a_pending_receive_and_is_seen_later() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.peer.close(1001, "bye").await;
        assert_eq!(scene.peer.expect_close(SOON).await, (Some(1001), "bye".to_owned()));
        scene.part().await;
        assert!(scene.ended().await.is_clean());
        let close = ReceivedClose { code: Some(1001), reason: "bye".into() };
        assert_eq!(scene.receive().await.unwrap(), Incoming::Close(close));
        scene.expect_no_more(None).await;
    }
}

#[tokio::test]
async fn a_receive_that_is_under_way_sees_the_peer_s_close() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        let (incoming, ()) = tokio::join!(soon("the Close", scene.messages.receive()), async {
            scene.peer.close(1000, "bye").await;
        });
        let close = ReceivedClose { code: Some(1000), reason: "bye".into() };
        assert_eq!(incoming.unwrap(), Incoming::Close(close));
    }
}

#[tokio::test]
async fn every_legal_code_is_answered_in_kind() {
    for role in BOTH {
        for code in
            [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999]
        {
            let mut scene = Scene::open(role, patient()).await;
            scene.peer.close(code, "why").await;
            assert_eq!(scene.peer.expect_close(SOON).await, (Some(code), "why".to_owned()));
            scene.part().await;
            let ending = scene.ended().await;
            assert!(ending.is_clean(), "{code}: {ending}");
            assert_eq!(ending.outcome.close_code(), Some(code));
        }
    }
}

#[tokio::test]
async fn a_reason_of_123_bytes_is_answered_in_kind() {
    let reason = "r".repeat(123);
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.peer.close(1000, &reason).await;
        assert_eq!(scene.peer.expect_close(SOON).await, (Some(1000), reason.clone()));
        scene.part().await;
        assert!(scene.ended().await.is_clean());
    }
}

#[tokio::test]
async fn an_empty_close_is_answered_with_an_empty_close() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.peer.close_empty().await;
        let answer = scene.peer.read_frame(SOON).await;
        assert_eq!((answer.opcode, answer.payload.len()), (CLOSE, 0));
        scene.part().await;
        scene.expect_close(None).await;
        assert_eq!(scene.ended().await.outcome.close_code(), Some(1005));
    }
}

#[tokio::test]
async fn the_answer_goes_behind_what_was_queued() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.connection.send("one").await.unwrap();
        scene.connection.send("two").await.unwrap();
        scene.peer.close(1000, "bye").await;
        scene.peer.expect_text("one").await;
        scene.peer.expect_text("two").await;
        scene.peer.expect_close(SOON).await;
        scene.part().await;
        assert!(scene.ended().await.is_clean());
    }
}

#[tokio::test]
async fn after_the_peer_s_close_was_answered_send_is_an_invalid_state() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.peer.close(1000, "bye").await;
        scene.peer.expect_close(SOON).await;
        let refused = scene.connection.send("late").await;
        assert!(matches!(refused, Err(SendError::InvalidState { .. })), "{refused:?}");
        scene.part().await;
    }
}

#[tokio::test]
async fn data_and_pings_after_the_peer_s_close_are_ignored() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        let frames = [
            Frame::text("before"),
            Frame::close(1000, "bye"),
            Frame::text("after"),
            Frame::ping("after"),
            Frame::close(1001, "again"),
            Frame::text("broken").rsv(7),
        ];
        scene.peer.send_frames(frames).await;
        scene.expect_messages(["before"]).await;
        scene.expect_close(Some(1000)).await;
        assert_eq!(scene.peer.expect_close(SOON).await, (Some(1000), "bye".to_owned()));
        // No Pong, no second Close.
        scene.part().await;
        scene.expect_no_more(None).await;
        let ending = scene.ended().await;
        assert!(ending.is_clean(), "{ending}");
        assert_eq!(ending.outcome.close_code(), Some(1000));
    }
}

#[tokio::test]
async fn the_application_picks_another_code_and_the_record_has_both() {
    for role in BOTH {
        let mut scene = Scene::replying(role, patient()).await;
        scene.peer.close(1000, "bye").await;
        scene.expect_close(Some(1000)).await;
        assert_eq!(scene.connection.state(), CloseState::CloseReceived);
        scene.peer.expect_silence().await;
        // Section 5.5.1: until the reply is sent, data may be.
        scene.connection.send("one more thing").await.unwrap();
        let ending = scene.connection.close(4000, "as you like").unwrap();
        scene.peer.expect_text("one more thing").await;
        assert_eq!(scene.peer.expect_close(SOON).await, (Some(4000), "as you like".to_owned()));
        scene.part().await;
        let ending = soon("the ending", ending).await;
        assert!(ending.is_clean(), "{ending}");
        assert_eq!(ending.outcome.first_close, FirstClose::Peer);
        assert_eq!(ending.outcome.close_code(), Some(1000));
        let sent = ending.outcome.close_sent.as_ref().unwrap();
        assert_eq!((sent.code().unwrap().get(), sent.reason()), (4000, "as you like"));
        let received = ending.outcome.close_received.as_ref().unwrap();
        assert_eq!((received.code, &*received.reason), (Some(1000), "bye"));
    }
}

#[tokio::test]
async fn a_reply_that_the_application_never_chooses_is_given_in_kind_in_time() {
    for role in BOTH {
        let hurried = settings(|s| s.close.timeout = Duration::from_secs(1));
        let mut scene = Scene::replying(role, hurried).await;
        scene.peer.close(4002, "well?").await;
        assert_eq!(scene.peer.expect_close(SOON).await, (Some(4002), "well?".to_owned()));
        scene.part().await;
        assert!(scene.ended().await.is_clean());
    }
}

/// Says goodbye with data and a code of its own.
struct Chooses;

impl Handler for Chooses {
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
        close: &ReceivedClose,
    ) -> Result<CloseReply, HandlerFailure> {
        connection.send(format!("you said {:?}", close.code)).await?;
        Ok(CloseReply::With(CloseFrame::Coded {
            code: CloseCode::new(4003)?,
            reason: CloseReason::new("farewell")?,
        }))
    }
}

#[tokio::test]
async fn a_handler_chooses_the_reply_and_may_send_before_it() {
    for role in BOTH {
        let backend = Backend::handler("chooses", Chooses);
        let mut scene = Scene::with_backend(role, patient(), backend).await;
        scene.peer.close(1001, "").await;
        scene.peer.expect_text("you said Some(1001)").await;
        assert_eq!(scene.peer.expect_close(SOON).await, (Some(4003), "farewell".to_owned()));
        scene.part().await;
        let ending = scene.ended().await;
        assert!(ending.is_clean(), "{ending}");
        assert_eq!(ending.outcome.close_code(), Some(1001));
    }
}

#[tokio::test]
async fn close_and_fin_at_once_are_clean_and_answered() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        socket2::SockRef::from(scene.peer.stream()).set_tcp_cork(true).unwrap();
        scene.peer.send_frames([Frame::text("last"), Frame::close(1000, "bye")]).await;
        scene.peer.fin().await;
        scene.expect_messages(["last"]).await;
        scene.expect_close(Some(1000)).await;
        assert_eq!(scene.peer.expect_close(SOON).await, (Some(1000), "bye".to_owned()));
        assert!(scene.ended().await.is_clean());
    }
}

#[tokio::test]
async fn close_between_fragments_does_not_deliver_the_part_as_a_whole() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        let part = Frame::text("half a mess").unfinished();
        scene.peer.send_frames([part, Frame::close(1000, "bye")]).await;
        assert_eq!(scene.peer.expect_close(SOON).await, (Some(1000), "bye".to_owned()));
        scene.part().await;
        scene.expect_close(Some(1000)).await;
        scene.expect_no_more(None).await;
        let ending = scene.ended().await;
        assert!(ending.is_clean(), "{ending}");
        assert_eq!(ending.traffic.as_ref().unwrap().messages_in, 0);
    }
}

#[tokio::test]
async fn both_close_at_the_same_time_with_one_close_each_way_and_clean() {
    for role in BOTH {
        for _ in 0..20 {
            let mut scene = Scene::open(role, patient()).await;
            let ours = scene.connection.close(1000, "ours").unwrap();
            scene.peer.close(1001, "theirs").await;
            assert_eq!(scene.peer.expect_close(SOON).await, (Some(1000), "ours".to_owned()));
            scene.part().await;
            let ending = soon("the ending", ours).await;
            assert!(ending.is_clean(), "{ending}");
            assert_eq!(ending.outcome.close_code(), Some(1001));
        }
    }
}

/// Reports the endings that it observes.
struct Reports(mpsc::UnboundedSender<String>);

impl Handler for Reports {
    async fn on_message(
        &mut self,
        _connection: &ConnectionHandle,
        message: Message,
    ) -> Result<(), HandlerFailure> {
        // The end of the connection may come while this waits.
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.0.send(message.as_text().unwrap_or_default().to_owned())?;
        Ok(())
    }

    async fn on_close(
        &mut self,
        _connection: &ConnectionHandle,
        close: &ReceivedClose,
    ) -> Result<CloseReply, HandlerFailure> {
        self.0.send(format!("close {:?}", close.code))?;
        Ok(CloseReply::InKind)
    }
}

#[tokio::test]
async fn a_slow_handler_gets_all_that_came_before_the_close() {
    for role in BOTH {
        let (reports, mut reported) = mpsc::unbounded_channel();
        let backend = Backend::handler("reports", Reports(reports));
        let mut scene = Scene::with_backend(role, patient(), backend).await;
        let close = Frame::close(1000, "");
        scene.peer.send_frames(["a", "b", "c"].map(Frame::text).into_iter().chain([close])).await;
        scene.peer.expect_close(SOON).await;
        scene.part().await;
        let ending = scene.ended().await;
        assert_eq!(ending.traffic.as_ref().unwrap().discarded_messages, 0);
        for awaited in ["a", "b", "c", "close Some(1000)"] {
            assert_eq!(soon("a report", reported.recv()).await.as_deref(), Some(awaited));
        }
    }
}

#[tokio::test]
async fn an_echo_sends_back_what_came_before_the_close_and_then_the_close() {
    for role in BOTH {
        let mut scene = Scene::with_backend(role, patient(), Backend::echo()).await;
        let frames = [Frame::text("a"), Frame::ping("p"), Frame::text("b"), Frame::close(1000, "")];
        scene.peer.send_frames(frames).await;
        let mut texts = vec![];
        let close = loop {
            let frame = scene.peer.read_frame(SOON).await;
            match frame.opcode {
                TEXT => texts.push(String::from_utf8(frame.payload).unwrap()),
                PONG => assert_eq!(frame.payload, b"p"),
                _ => break frame,
            }
        };
        assert_eq!(texts, ["a", "b"]);
        assert_eq!(close.close_code_and_reason(), (Some(1000), String::new()));
        scene.part().await;
        let ending = scene.ended().await;
        assert!(ending.is_clean(), "{ending}");
        assert_eq!(ending.outcome.kind, Kind::Clean);
    }
}

#[tokio::test]
async fn reading_that_paused_goes_on_as_soon_as_the_receiver_takes() {
    const MESSAGES: usize = 1024;
    let small = settings(|s| s.limits.inbox_bytes = ByteSize::kib(4));
    let mut scene = Scene::open(Role::Client, small).await;
    let (messages, peer) = (&mut scene.messages, &mut scene.peer);
    // Each pause holds 4 messages at most; were each to last a quarter of a second, this would
    // take a minute.
    let receive = soon("all messages", async {
        for _ in 0..MESSAGES {
            assert!(matches!(messages.receive().await, Ok(Incoming::Message(_))));
        }
    });
    let send = async {
        for _ in 0..MESSAGES {
            peer.binary(vec![0; 1024]).await;
        }
    };
    tokio::join!(receive, send);
}
