//! Connections that end without a closing handshake, and without a whole one.

use lastword::settings::ByteSize;
use lastword::vocabulary::{Cause, CloseState, Fault, FirstClose, Kind, Role, TransportEnd};
use lastword::{Incoming, SendError};

use super::stage::{
    BOTH, BRIEF, Scene, TOO_MUCH, Verdict, api, ended, patient, said, settings, soon,
};
use crate::support::SOON;
use crate::support::frame::{CLOSE, Frame, PONG};
use crate::support::raw_peer::{End, RawPeer};

/// Where in its stream a peer goes.
#[derive(Debug, Clone, Copy)]
enum Place {
    Idle,
    InHeader,
    InPayload,
    InControlPayload,
    BetweenFragments,
}

const PLACES: [(Place, &str); 5] = [
    (Place::Idle, "between messages"),
    (Place::InHeader, "inside a header"),
    (Place::InPayload, "inside a payload (12 of 4096 bytes)"),
    (Place::InControlPayload, "inside a payload (3 of 9 bytes)"),
    (Place::BetweenFragments, "between fragments"),
];

impl Place {
    async fn reach(self, peer: &mut RawPeer) {
        peer.text("whole").await;
        match self {
            Self::Idle => {}
            Self::InHeader => peer.send_start(Frame::text("cut"), 1).await,
            Self::InPayload => peer.send_part_of_payload(Frame::binary(vec![0; 4096]), 12).await,
            Self::InControlPayload => {
                peer.send_part_of_payload(Frame::close(1000, "so long"), 3).await;
            }
            Self::BetweenFragments => peer.send_frame(Frame::text("par").unfinished()).await,
        }
    }
}

fn lost_while_open(kind: Kind, transport_end: TransportEnd) -> Verdict {
    Verdict {
        kind,
        fault: Fault::Peer,
        first_close: FirstClose::None,
        cause: Cause::None,
        state: CloseState::Open,
        transport_end,
        close_code: 1006,
        close_sent: None,
        close_received: None,
    }
}

#[tokio::test]
async fn fin_without_close_wherever_the_stream_stands() {
    for role in BOTH {
        for (place, detail) in PLACES {
            let mut scene = Scene::open(role, patient()).await;
            place.reach(&mut scene.peer).await;
            scene.peer.fin().await;
            // Nothing is sent to a peer that ended without a Close.
            assert_eq!(scene.peer.expect_end(SOON).await, End::Fin);
            let ending = scene.ended().await;
            lost_while_open(Kind::ClosedPrematurely, TransportEnd::Fin)
                .assert(&ending, (role, place));
            assert_eq!(ending.outcome.detail, format!("the peer ended TCP (FIN) {detail}"));
            scene.expect_messages(["whole"]).await;
            scene.expect_no_more(Some(Kind::ClosedPrematurely)).await;
        }
    }
}

#[tokio::test]
async fn rst_wherever_the_stream_stands() {
    for role in BOTH {
        for (place, detail) in PLACES {
            let mut scene = Scene::open(role, patient()).await;
            place.reach(&mut scene.peer).await;
            // All that came was read: RST may overtake what was not.
            scene.expect_messages(["whole"]).await;
            scene.peer.reset();
            let ending = ended(&scene.connection).await;
            lost_while_open(Kind::ConnectionReset, TransportEnd::Reset)
                .assert(&ending, (role, place));
            assert_eq!(ending.outcome.detail, format!("the peer reset TCP (RST) {detail}"));
        }
    }
}

#[tokio::test]
async fn fin_or_rst_instead_of_an_answer_says_where_the_stream_stood() {
    for (resets, detail) in [
        (false, "the peer ended TCP (FIN) inside a header, instead of answering our Close"),
        (true, "the peer reset TCP (RST) inside a header, instead of answering our Close"),
    ] {
        let mut scene = Scene::open(Role::Server, patient()).await;
        scene.connection.close_output(1000, "bye").unwrap();
        scene.peer.expect_close(SOON).await;
        scene.peer.text("whole").await;
        scene.peer.send_start(Frame::text("cut"), 1).await;
        scene.expect_messages(["whole"]).await;
        if resets {
            scene.peer.reset();
        } else {
            scene.peer.fin().await;
        }
        let ending = ended(&scene.connection).await;
        assert!(ending.outcome.detail.ends_with(detail), "{ending}");
    }
}

#[tokio::test]
async fn abort_sends_no_close_and_a_pending_receive_ends_promptly() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        let (connection, messages) = (&scene.connection, &mut scene.messages);
        let (incoming, ()) = tokio::join!(soon("the end", messages.receive()), async {
            tokio::task::yield_now().await;
            connection.abort();
        });
        assert_eq!(incoming.unwrap_err().ending().unwrap().outcome.kind, Kind::Aborted);
        assert_eq!(scene.peer.expect_end(SOON).await, End::Reset);
        let ending = scene.ended().await;
        assert_eq!((ending.outcome.kind, ending.outcome.cause), (Kind::Aborted, Cause::Embedder));
        assert_eq!(scene.connection.state(), CloseState::Closed);
        let invalid = SendError::Ended { kind: Kind::Aborted };
        assert_eq!(scene.connection.send("late").await, Err(invalid));
    }
}

#[tokio::test]
async fn abort_drops_what_is_queued_and_counts_it() {
    for role in BOTH {
        let scene = Scene::open(role, patient()).await;
        scene.send_too_much().await;
        scene.connection.abort_with(Cause::Api, Some(api()));
        let ending = scene.ended().await;
        assert_eq!(ending.outcome.kind, Kind::Aborted);
        let traffic = ending.traffic.as_ref().unwrap();
        assert_eq!((traffic.undelivered_messages, traffic.messages_out), (1, 0));
        assert_eq!(traffic.undelivered_bytes, TOO_MUCH as u64);
    }
}

#[tokio::test]
async fn abort_while_our_close_waits_for_its_answer() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.connection.close_output(1000, "bye").unwrap();
        scene.peer.expect_close(SOON).await;
        scene.connection.abort_with(Cause::Api, Some(api()));
        assert_eq!(scene.peer.expect_end(SOON).await, End::Reset);
        let ending = scene.ended().await;
        let verdict = Verdict {
            kind: Kind::Aborted,
            fault: Fault::Operator,
            first_close: FirstClose::Local,
            cause: Cause::Embedder,
            state: CloseState::CloseSent,
            transport_end: TransportEnd::Local,
            close_code: 1006,
            close_sent: said(1000, "bye"),
            close_received: None,
        };
        verdict.assert(&ending, role);
        assert_eq!(ending.outcome.by, Some(api()));
    }
}

#[tokio::test]
async fn half_open_what_we_had_to_send_is_still_written() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.send_too_much().await;
        scene.peer.fin().await;
        assert_eq!(scene.peer.read_frame(SOON).await.payload.len(), TOO_MUCH);
        assert_eq!(scene.peer.expect_end(SOON).await, End::Fin);
        let ending = scene.ended().await;
        lost_while_open(Kind::ClosedPrematurely, TransportEnd::Fin).assert(&ending, role);
        let traffic = ending.traffic.as_ref().unwrap();
        assert_eq!((traffic.messages_out, traffic.undelivered_messages), (1, 0));
    }
}

#[tokio::test]
async fn half_open_our_close_that_was_queued_is_still_written() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.send_too_much().await;
        scene.close_by_api(1000, "bye");
        scene.peer.fin().await;
        assert_eq!(scene.peer.read_frame(SOON).await.payload.len(), TOO_MUCH);
        assert_eq!(scene.peer.expect_close(SOON).await, (Some(1000), "bye".to_owned()));
        assert_eq!(scene.peer.expect_end(SOON).await, End::Fin);
        let verdict = Verdict {
            kind: Kind::ClosedPrematurely,
            fault: Fault::Peer,
            first_close: FirstClose::Local,
            cause: Cause::Api,
            state: CloseState::CloseSent,
            transport_end: TransportEnd::Fin,
            close_code: 1006,
            close_sent: said(1000, "bye"),
            close_received: None,
        };
        verdict.assert(&*scene.ended().await, role);
    }
}

#[tokio::test]
async fn half_open_and_the_peer_does_not_read_either() {
    for role in BOTH {
        let mut scene = Scene::open(role, settings(|s| s.close.linger = BRIEF)).await;
        scene.send_too_much().await;
        scene.peer.fin().await;
        let ending = scene.ended().await;
        lost_while_open(Kind::ClosedPrematurely, TransportEnd::Fin).assert(&ending, role);
        assert_eq!(ending.traffic.as_ref().unwrap().undelivered_messages, 1);
    }
}

#[tokio::test]
async fn loss_is_seen_with_no_receive_pending() {
    for role in BOTH {
        for resets in [false, true] {
            let mut scene = Scene::open(role, patient()).await;
            scene.peer.text("unread").await;
            // The Pong says that it was taken in.
            scene.peer.ping("there?").await;
            assert_eq!(scene.peer.read_frame(SOON).await.opcode, PONG);
            if resets {
                scene.peer.reset();
            } else {
                scene.peer.fin().await;
            }
            let kind = ended(&scene.connection).await.outcome.kind;
            let due = if resets { Kind::ConnectionReset } else { Kind::ClosedPrematurely };
            assert_eq!(kind, due, "{role:?}");
            // What came before it is still there.
            let unread = soon("the message", scene.messages.receive()).await;
            assert_eq!(unread.unwrap(), Incoming::Message("unread".into()));
        }
    }
}

#[tokio::test]
async fn rst_is_seen_while_reading_is_paused() {
    for role in BOTH {
        let mut scene = Scene::open(role, settings(|s| s.limits.inbox_bytes = ByteSize(1))).await;
        scene.peer.send_frames(["one", "two", "three"].map(Frame::text)).await;
        scene.expect_messages(["one"]).await;
        scene.peer.reset();
        assert_eq!(ended(&scene.connection).await.outcome.kind, Kind::ConnectionReset);
    }
}

#[tokio::test]
async fn a_close_and_fin_behind_a_full_inbox_are_clean_once_the_receiver_takes() {
    for role in BOTH {
        let mut scene = Scene::open(role, settings(|s| s.limits.inbox_bytes = ByteSize(1))).await;
        let texts = ["one", "two", "three"];
        let close = Frame::close(1000, "bye");
        scene.peer.send_frames(texts.map(Frame::text).into_iter().chain([close])).await;
        scene.peer.fin().await;
        scene.expect_messages(texts).await;
        scene.expect_close(Some(1000)).await;
        let answer = scene.peer.read_frame(SOON).await;
        assert_eq!(answer.opcode, CLOSE);
        assert!(scene.ended().await.is_clean());
    }
}
