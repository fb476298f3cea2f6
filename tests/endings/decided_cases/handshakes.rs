//! Closing handshakes: whole ones, and those that FIN, RST or time cut short.

use lastword::vocabulary::{Cause, CloseState, Fault, FirstClose, Kind, TransportEnd};

use crate::endings::stage::{
    BOTH, BRIEF, Scene, TOO_MUCH, Verdict, api, ended, patient, said, said_nothing, settings,
};
use crate::support::SOON;
use crate::support::raw_peer::End;

#[tokio::test]
async fn api_close_1000_is_echoed() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.close_by_api(1000, "bye");
        assert_eq!(scene.peer.expect_close(SOON).await, (Some(1000), "bye".to_owned()));
        scene.peer.close(1000, "bye").await;
        scene.part().await;
        let ending = scene.ended().await;
        assert_eq!(ending.outcome.by, Some(api()));
        let verdict = Verdict {
            kind: Kind::Clean,
            fault: Fault::Operator,
            first_close: FirstClose::Local,
            cause: Cause::Api,
            state: CloseState::Closed,
            transport_end: TransportEnd::Fin,
            close_code: 1000,
            close_sent: said(1000, "bye"),
            close_received: said(1000, "bye"),
        };
        verdict.assert(&ending, role);
    }
}

#[tokio::test]
async fn api_close_1000_is_echoed_and_no_fin_comes_within_linger() {
    for role in BOTH {
        let mut scene = Scene::open(role, settings(|s| s.close.linger = BRIEF)).await;
        scene.close_by_api(1000, "bye");
        scene.peer.expect_close(SOON).await;
        scene.peer.close(1000, "bye").await;
        assert_eq!(scene.peer.expect_end(SOON).await, End::Fin);
        let ending = scene.ended().await;
        let verdict = Verdict {
            kind: Kind::Clean,
            fault: Fault::Operator,
            first_close: FirstClose::Local,
            cause: Cause::Api,
            state: CloseState::Closed,
            transport_end: TransportEnd::Timeout,
            close_code: 1000,
            close_sent: said(1000, "bye"),
            close_received: said(1000, "bye"),
        };
        verdict.assert(&ending, role);
    }
}

#[tokio::test]
async fn the_peer_s_empty_close() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.peer.close_empty().await;
        assert_eq!(scene.peer.expect_close(SOON).await, (None, String::new()));
        scene.part().await;
        let verdict = Verdict {
            kind: Kind::Clean,
            fault: Fault::None,
            first_close: FirstClose::Peer,
            cause: Cause::Peer,
            state: CloseState::Closed,
            transport_end: TransportEnd::Fin,
            close_code: 1005,
            close_sent: said_nothing(),
            close_received: said_nothing(),
        };
        verdict.assert(&*scene.ended().await, role);
    }
}

#[tokio::test]
async fn the_peer_s_1001_and_rst_after_our_reply_left() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.peer.close(1001, "").await;
        assert_eq!(scene.peer.expect_close(SOON).await, (Some(1001), String::new()));
        scene.peer.reset();
        let verdict = Verdict {
            kind: Kind::Clean,
            fault: Fault::None,
            first_close: FirstClose::Peer,
            cause: Cause::Peer,
            state: CloseState::Closed,
            transport_end: TransportEnd::Reset,
            close_code: 1001,
            close_sent: said(1001, ""),
            close_received: said(1001, ""),
        };
        verdict.assert(&*ended(&scene.connection).await, role);
    }
}

fn reset_before_our_reply() -> Verdict {
    Verdict {
        kind: Kind::ConnectionReset,
        fault: Fault::Peer,
        first_close: FirstClose::Peer,
        cause: Cause::Peer,
        state: CloseState::CloseReceived,
        transport_end: TransportEnd::Reset,
        close_code: 1001,
        close_sent: None,
        close_received: said(1001, ""),
    }
}

#[tokio::test]
async fn the_peer_s_1001_and_rst_while_our_reply_is_being_chosen() {
    for role in BOTH {
        let mut scene = Scene::replying(role, patient()).await;
        scene.peer.close(1001, "").await;
        scene.reaches(CloseState::CloseReceived).await;
        scene.peer.reset();
        reset_before_our_reply().assert(&*ended(&scene.connection).await, role);
    }
}

#[tokio::test]
async fn the_peer_s_1001_and_rst_while_our_reply_is_stuck() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.send_too_much().await;
        scene.peer.close(1001, "").await;
        scene.reaches(CloseState::CloseReceived).await;
        scene.peer.reset();
        reset_before_our_reply().assert(&*ended(&scene.connection).await, role);
    }
}

/// One thread: nothing of ours runs between the peer's Close and its RST.
#[tokio::test(flavor = "current_thread")]
async fn the_peer_s_1001_with_rst_right_behind_it() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.peer.close(1001, "").await;
        scene.peer.reset();
        reset_before_our_reply().assert(&*ended(&scene.connection).await, role);
    }
}

#[tokio::test]
async fn the_peer_s_close_and_fin_in_one_segment() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        // Corked, the Close waits for the FIN.
        socket2::SockRef::from(scene.peer.stream()).set_tcp_cork(true).unwrap();
        scene.peer.close(1000, "bye").await;
        scene.peer.fin().await;
        assert_eq!(scene.peer.expect_close(SOON).await, (Some(1000), "bye".to_owned()));
        assert_eq!(scene.peer.expect_end(SOON).await, End::Fin);
        let verdict = Verdict {
            kind: Kind::Clean,
            fault: Fault::None,
            first_close: FirstClose::Peer,
            cause: Cause::Peer,
            state: CloseState::Closed,
            transport_end: TransportEnd::Fin,
            close_code: 1000,
            close_sent: said(1000, "bye"),
            close_received: said(1000, "bye"),
        };
        verdict.assert(&*scene.ended().await, role);
    }
}

#[tokio::test]
async fn the_peer_s_1000_and_our_reply_cannot_leave() {
    for role in BOTH {
        let mut scene = Scene::open(role, settings(|s| s.close.timeout = BRIEF)).await;
        scene.send_too_much().await;
        scene.peer.close(1000, "bye").await;
        let ending = scene.ended().await;
        let verdict = Verdict {
            kind: Kind::CloseTimeout,
            fault: Fault::Peer,
            first_close: FirstClose::Peer,
            cause: Cause::Peer,
            state: CloseState::CloseReceived,
            transport_end: TransportEnd::Timeout,
            close_code: 1000,
            close_sent: None,
            close_received: said(1000, "bye"),
        };
        verdict.assert(&ending, role);
        assert_eq!(ending.traffic.as_ref().unwrap().undelivered_messages, 1);
    }
}

#[tokio::test]
async fn both_closes_cross() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.close_by_api(1000, "ours");
        scene.reaches(CloseState::CloseSent).await;
        // The peer has not read ours yet.
        scene.peer.close(4001, "theirs").await;
        assert_eq!(scene.peer.expect_close(SOON).await, (Some(1000), "ours".to_owned()));
        scene.part().await;
        let verdict = Verdict {
            kind: Kind::Clean,
            fault: Fault::Operator,
            first_close: FirstClose::Local,
            cause: Cause::Api,
            state: CloseState::Closed,
            transport_end: TransportEnd::Fin,
            close_code: 4001,
            close_sent: said(1000, "ours"),
            close_received: said(4001, "theirs"),
        };
        verdict.assert(&*scene.ended().await, role);
    }
}

#[tokio::test]
async fn our_close_is_still_queued_when_the_peer_s_is_read() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.send_too_much().await;
        scene.close_by_api(1000, "ours");
        scene.peer.close(4001, "theirs").await;
        scene.reaches(CloseState::CloseReceived).await;
        assert_eq!(scene.peer.read_frame(SOON).await.payload.len(), TOO_MUCH);
        assert_eq!(scene.peer.expect_close(SOON).await, (Some(1000), "ours".to_owned()));
        scene.part().await;
        let ending = scene.ended().await;
        let verdict = Verdict {
            kind: Kind::Clean,
            fault: Fault::Operator,
            first_close: FirstClose::Peer,
            cause: Cause::Api,
            state: CloseState::Closed,
            transport_end: TransportEnd::Fin,
            close_code: 4001,
            close_sent: said(1000, "ours"),
            close_received: said(4001, "theirs"),
        };
        verdict.assert(&ending, role);
        assert_eq!(ending.outcome.by, Some(api()));
    }
}

#[tokio::test]
async fn our_close_is_not_answered() {
    for role in BOTH {
        let mut scene = Scene::open(role, settings(|s| s.close.timeout = BRIEF)).await;
        scene.close_by_api(1000, "bye");
        assert_eq!(scene.peer.expect_close(SOON).await, (Some(1000), "bye".to_owned()));
        assert_eq!(scene.peer.expect_end(SOON).await, End::Fin);
        let ending = scene.ended().await;
        let verdict = Verdict {
            kind: Kind::CloseTimeout,
            fault: Fault::Peer,
            first_close: FirstClose::Local,
            cause: Cause::Api,
            state: CloseState::CloseSent,
            transport_end: TransportEnd::Timeout,
            close_code: 1006,
            close_sent: said(1000, "bye"),
            close_received: None,
        };
        verdict.assert(&ending, role);
        assert!(ending.open_for >= BRIEF, "{ending:?}");
    }
}

#[tokio::test]
async fn our_close_cannot_even_leave() {
    for role in BOTH {
        let scene = Scene::open(role, settings(|s| s.close.timeout = BRIEF)).await;
        scene.send_too_much().await;
        scene.close_by_api(1000, "bye");
        let ending = scene.ended().await;
        let verdict = Verdict {
            kind: Kind::CloseTimeout,
            fault: Fault::Peer,
            first_close: FirstClose::None,
            cause: Cause::Api,
            state: CloseState::CloseSent,
            transport_end: TransportEnd::Timeout,
            close_code: 1006,
            close_sent: None,
            close_received: None,
        };
        verdict.assert(&ending, role);
        assert_eq!(ending.traffic.as_ref().unwrap().undelivered_messages, 1);
    }
}

#[tokio::test]
async fn fin_or_rst_instead_of_an_answer_to_our_close() {
    for role in BOTH {
        for (kind, transport_end) in [
            (Kind::ClosedPrematurely, TransportEnd::Fin),
            (Kind::ConnectionReset, TransportEnd::Reset),
        ] {
            let mut scene = Scene::open(role, patient()).await;
            scene.close_by_api(1000, "bye");
            scene.peer.expect_close(SOON).await;
            match transport_end {
                TransportEnd::Reset => scene.peer.reset(),
                _ => {
                    scene.peer.fin().await;
                    assert_eq!(scene.peer.expect_end(SOON).await, End::Fin);
                }
            }
            let ending = ended(&scene.connection).await;
            let verdict = Verdict {
                kind,
                fault: Fault::Peer,
                first_close: FirstClose::Local,
                cause: Cause::Api,
                state: CloseState::CloseSent,
                transport_end,
                close_code: 1006,
                close_sent: said(1000, "bye"),
                close_received: None,
            };
            verdict.assert(&ending, role);
            assert!(ending.outcome.detail.contains("instead of answering our Close"), "{ending}");
        }
    }
}

#[tokio::test]
async fn fin_or_rst_while_open() {
    for role in BOTH {
        for (kind, transport_end) in [
            (Kind::ClosedPrematurely, TransportEnd::Fin),
            (Kind::ConnectionReset, TransportEnd::Reset),
        ] {
            let mut scene = Scene::open(role, patient()).await;
            match transport_end {
                TransportEnd::Reset => scene.peer.reset(),
                _ => {
                    scene.peer.fin().await;
                    assert_eq!(scene.peer.expect_end(SOON).await, End::Fin);
                }
            }
            let verdict = Verdict {
                kind,
                fault: Fault::Peer,
                first_close: FirstClose::None,
                cause: Cause::None,
                state: CloseState::Open,
                transport_end,
                close_code: 1006,
                close_sent: None,
                close_received: None,
            };
            verdict.assert(&*ended(&scene.connection).await, role);
        }
    }
}
