//! This end closes.

use std::sync::Arc;
use std::time::Duration;

use lastword::vocabulary::{CloseState, FirstClose, IllegalClose, Kind, Role};
use lastword::{Backend, SendError};

use super::stage::{BOTH, BRIEF, Scene, ended, opposite, patient, settings, soon};
use crate::support::SOON;
use crate::support::frame::{CLOSE, Frame};
use crate::support::raw_peer::End;

/// Codes that may be sent, at the edges of their ranges and within.
const LEGAL: [u16; 17] = [
    1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4567,
    4999,
];

/// Codes that may not be sent.
const ILLEGAL: [u16; 11] = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535];

/// Answers what this end's Close says, in kind, and parts.
async fn answer<M>(scene: &mut Scene<M>) -> (Option<u16>, String) {
    let (code, reason) = scene.peer.expect_close(SOON).await;
    match code {
        Some(code) => scene.peer.close(code, &reason).await,
        None => scene.peer.close_empty().await,
    }
    scene.part().await;
    (code, reason)
}

#[tokio::test]
async fn close_1000_bye_is_one_close_each_way_and_clean() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        let ending = scene.connection.close(1000, "bye").unwrap();
        assert_eq!(scene.connection.state(), CloseState::CloseSent);
        // What follows the Close is the end of TCP: `part` asserts it.
        assert_eq!(answer(&mut scene).await, (Some(1000), "bye".to_owned()));
        let ending = soon("the ending", ending).await;
        assert!(ending.is_clean(), "{ending}");
        assert_eq!(ending.outcome.state, Some(CloseState::Closed));
        assert_eq!(scene.connection.state(), CloseState::Closed);
        assert!(scene.supervisor.accounting().balances());
    }
}

#[tokio::test]
async fn a_reason_of_123_bytes_round_trips() {
    let reason = format!("{}ü", "r".repeat(121));
    assert_eq!(reason.len(), 123);
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.connection.close_output(4000, &reason).unwrap();
        assert_eq!(answer(&mut scene).await, (Some(4000), reason.clone()));
        let ending = scene.ended().await;
        assert_eq!(ending.outcome.close_sent.as_ref().unwrap().reason(), reason);
        assert_eq!(&*ending.outcome.close_received.as_ref().unwrap().reason, reason);
    }
}

#[tokio::test]
async fn a_reason_of_124_bytes_is_an_error_nothing_is_sent_and_the_connection_is_usable() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        let refused = scene.connection.close(1000, &"r".repeat(124)).err();
        assert_eq!(refused, Some(IllegalClose::ReasonTooLong(124)));
        scene.peer.expect_silence().await;
        assert_eq!(scene.connection.state(), CloseState::Open);
        scene.connection.send("still here").await.unwrap();
        scene.peer.expect_text("still here").await;
        scene.peer.text("me too").await;
        scene.expect_messages(["me too"]).await;
    }
}

#[tokio::test]
async fn a_code_that_may_not_be_sent_is_an_error_and_nothing_is_sent() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        for code in ILLEGAL {
            assert_eq!(scene.connection.close(code, "").err(), Some(IllegalClose::Code(code)));
        }
        scene.peer.expect_silence().await;
        assert_eq!(scene.connection.state(), CloseState::Open);
    }
}

#[tokio::test]
async fn every_legal_code_is_sent_and_every_legal_code_is_taken_as_the_answer() {
    for role in BOTH {
        for code in LEGAL {
            let mut scene = Scene::open(role, patient()).await;
            scene.connection.close_output(code, "").unwrap();
            assert_eq!(answer(&mut scene).await, (Some(code), String::new()));
            let ending = scene.ended().await;
            assert!(ending.is_clean(), "{code}: {ending}");
            assert_eq!(ending.outcome.close_code(), Some(code));
        }
    }
}

#[tokio::test]
async fn without_a_code_an_empty_close_is_sent_and_1005_is_reported() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.connection.close_empty();
        let frame = scene.peer.read_frame(SOON).await;
        assert_eq!((frame.opcode, frame.payload.len()), (CLOSE, 0));
        scene.peer.close_empty().await;
        scene.part().await;
        let ending = scene.ended().await;
        assert!(ending.is_clean(), "{ending}");
        assert_eq!(ending.outcome.close_code(), Some(1005));
        assert_eq!(ending.outcome.close_sent.as_ref().unwrap().code(), None);
        assert_eq!(ending.outcome.close_received.as_ref().unwrap().code, None);
    }
}

#[tokio::test]
async fn the_peer_answers_with_another_code_and_both_are_kept() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.connection.close_output(1000, "bye").unwrap();
        scene.peer.expect_close(SOON).await;
        scene.peer.close(4321, "not so fast").await;
        scene.part().await;
        let ending = scene.ended().await;
        assert!(ending.is_clean(), "{ending}");
        let sent = ending.outcome.close_sent.as_ref().unwrap();
        assert_eq!((sent.code().unwrap().get(), sent.reason()), (1000, "bye"));
        let received = ending.outcome.close_received.as_ref().unwrap();
        assert_eq!((received.code, &*received.reason), (Some(4321), "not so fast"));
        assert_eq!(ending.outcome.close_code(), Some(4321));
    }
}

#[tokio::test]
async fn a_second_close_while_closing_gets_the_same_ending_and_sends_no_second_frame() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        let first = scene.connection.close(1000, "first").unwrap();
        let second = scene.connection.close(1001, "second").unwrap();
        assert_eq!(scene.peer.expect_close(SOON).await, (Some(1000), "first".to_owned()));
        let third = scene.connection.close(1001, "third").unwrap();
        scene.peer.expect_silence().await;
        scene.peer.close(1000, "first").await;
        scene.part().await;
        let (first, second, third) =
            soon("the endings", async { tokio::join!(first, second, third) }).await;
        assert!(Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&first, &third));
        assert_eq!(first.outcome.close_sent.as_ref().unwrap().reason(), "first");
    }
}

#[tokio::test]
async fn at_the_end_close_returns_the_recorded_ending_and_send_is_an_invalid_state() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.peer.close(1000, "bye").await;
        scene.peer.expect_close(SOON).await;
        scene.part().await;
        let ending = scene.ended().await;
        let again = soon("the ending", scene.connection.close(1001, "late").unwrap()).await;
        assert!(Arc::ptr_eq(&ending, &again));
        let invalid = SendError::Ended { kind: Kind::Clean };
        assert_eq!(scene.connection.send("late").await, Err(invalid));
        let refused = scene.connection.try_send("late").unwrap_err();
        assert_eq!((refused.error, refused.message.as_text()), (invalid, Some("late")));
    }
}

#[tokio::test]
async fn after_an_abrupt_end_it_is_closed_and_send_says_how_it_ended() {
    for role in BOTH {
        let scene = Scene::open(role, patient()).await;
        scene.peer.reset();
        ended(&scene.connection).await;
        let invalid = SendError::Ended { kind: Kind::ConnectionReset };
        assert_eq!(scene.connection.send("late").await, Err(invalid));
    }
}

#[tokio::test]
async fn the_peer_never_answers_and_it_ends_as_close_timeout_in_time() {
    for role in BOTH {
        let mut scene = Scene::open(role, settings(|s| s.close.timeout = BRIEF)).await;
        let ending = scene.connection.close(1000, "bye").unwrap();
        let ending = soon("the ending", ending).await;
        assert_eq!(ending.outcome.kind, Kind::CloseTimeout);
        assert_eq!(ending.outcome.close_code(), Some(1006));
        assert_eq!(scene.peer.expect_close(SOON).await.0, Some(1000));
        assert_eq!(scene.peer.expect_end(SOON).await, End::Fin);
    }
}

/// A peer that talks and talks is not a peer that answers.
#[tokio::test]
async fn data_after_our_close_does_not_put_the_timeout_off() {
    for role in BOTH {
        let mut scene = Scene::open(role, settings(|s| s.close.timeout = BRIEF)).await;
        scene.connection.close_output(1000, "bye").unwrap();
        let talk = async {
            while scene.peer.try_send_raw(Frame::text("and").encode(opposite(role))).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let ending = tokio::select! {
            ending = ended(&scene.connection) => ending,
            () = talk => ended(&scene.connection).await,
        };
        assert_eq!(ending.outcome.kind, Kind::CloseTimeout, "{ending}");
    }
}

#[tokio::test]
async fn the_caller_drops_the_close_future_and_the_handshake_ends_all_the_same() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        drop(scene.connection.close(1000, "bye").unwrap());
        assert_eq!(answer(&mut scene).await, (Some(1000), "bye".to_owned()));
        assert!(scene.ended().await.is_clean());

        let mut scene = Scene::open(role, patient()).await;
        let half_way = scene.connection.close(1000, "bye").unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), half_way).await.is_err());
        assert_eq!(answer(&mut scene).await, (Some(1000), "bye".to_owned()));
        assert!(scene.ended().await.is_clean());
    }
}

#[tokio::test]
async fn close_goes_behind_what_is_queued() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        for text in ["one", "two", "three"] {
            scene.connection.send(text).await.unwrap();
        }
        scene.connection.close_output(1000, "bye").unwrap();
        for text in ["one", "two", "three"] {
            scene.peer.expect_text(text).await;
        }
        answer(&mut scene).await;
        let ending = scene.ended().await;
        let traffic = ending.traffic.as_ref().unwrap();
        assert_eq!((traffic.messages_out, traffic.undelivered_messages), (3, 0));
    }
}

#[tokio::test]
async fn close_output_returns_at_once_and_what_still_comes_is_delivered() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.connection.close_output(1000, "done").unwrap();
        let invalid = SendError::InvalidState { state: CloseState::CloseSent };
        assert_eq!(scene.connection.send("late").await, Err(invalid));
        assert_eq!(scene.connection.try_send("late").unwrap_err().error, invalid);
        assert_eq!(scene.peer.expect_close(SOON).await, (Some(1000), "done".to_owned()));

        let closing = scene.connection.close(1001, "again").unwrap();
        for text in ["one", "two", "three"] {
            scene.peer.text(text).await;
            scene.expect_messages([text]).await;
        }
        scene.peer.close(1000, "done too").await;
        scene.expect_close(Some(1000)).await;
        scene.part().await;
        scene.expect_no_more(None).await;

        let ending = soon("the ending", closing).await;
        assert!(ending.is_clean(), "{ending}");
        assert_eq!(ending.outcome.first_close, FirstClose::Local);
        let traffic = ending.traffic.as_ref().unwrap();
        assert_eq!((traffic.messages_in, traffic.discarded_messages), (3, 0));
    }
}

const LATE: [&str; 5] = ["one", "two", "three", "four", "five"];

/// Lets the peer send five messages when our Close is there, and then answer it.
async fn late<M>(scene: &mut Scene<M>) {
    scene.connection.close_output(1000, "bye").unwrap();
    scene.peer.expect_close(SOON).await;
    let close = Frame::close(1000, "bye");
    scene.peer.send_frames(LATE.map(Frame::text).into_iter().chain([close])).await;
    scene.part().await;
}

#[tokio::test]
async fn five_late_messages_while_closing_are_delivered_to_who_receives() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        late(&mut scene).await;
        let ending = scene.ended().await;
        let traffic = ending.traffic.as_ref().unwrap();
        assert_eq!((traffic.messages_in, traffic.discarded_messages), (5, 0));
        // They wait for who receives only after the end.
        scene.expect_messages(LATE).await;
        scene.expect_close(Some(1000)).await;
        scene.expect_no_more(None).await;
    }
}

#[tokio::test]
async fn five_late_messages_while_closing_are_counted_where_they_cannot_go() {
    for role in BOTH {
        let mut scene = Scene::with_backend(role, patient(), Backend::echo()).await;
        late(&mut scene).await;
        let ending = scene.ended().await;
        let traffic = ending.traffic.as_ref().unwrap();
        assert_eq!((traffic.messages_in, traffic.discarded_messages), (5, 5));
        assert_eq!(traffic.messages_out, 0);
    }
}

#[tokio::test]
async fn five_late_messages_while_closing_are_counted_without_a_receiver() {
    for role in BOTH {
        let scene = Scene::open(role, patient()).await;
        let mut scene = scene.without_receiver();
        late(&mut scene).await;
        let ending = scene.ended().await;
        let traffic = ending.traffic.as_ref().unwrap();
        assert_eq!((traffic.messages_in, traffic.discarded_messages), (5, 5));
    }
}

#[tokio::test]
async fn messages_that_wait_when_the_receiver_is_dropped_are_counted() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.peer.send_frames(LATE.map(Frame::text)).await;
        // The first was received, so that what came with it waits.
        scene.expect_messages(["one"]).await;
        scene.peer.ping("all there?").await;
        scene.peer.read_frame(SOON).await;
        let mut scene = scene.without_receiver();
        scene.connection.close_output(1000, "bye").unwrap();
        answer(&mut scene).await;
        let ending = scene.ended().await;
        let traffic = ending.traffic.as_ref().unwrap();
        assert_eq!((traffic.messages_in, traffic.discarded_messages), (5, 4));
    }
}

#[tokio::test]
async fn with_reason_id_the_reasons_of_this_end_name_the_connection() {
    let named = settings(|s| {
        s.close.reason_id = true;
        s.keepalive.idle_timeout = BRIEF;
    });
    let mut scene = Scene::open(Role::Server, named).await;
    let (code, reason) = answer(&mut scene).await;
    let short = scene.connection.id().short();
    assert_eq!((code, reason), (Some(3008), format!("idle [{short}]")));
}
