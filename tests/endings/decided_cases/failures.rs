//! Connections that this end fails, drops or never gets.

use std::net::SocketAddr;
use std::time::Duration;

use lastword::settings::ByteSize;
use lastword::vocabulary::{
    Cause, CloseState, Fault, FirstClose, Kind, OpenFailure, Requester, TransportEnd,
};
use lastword::{
    Backend, ConnectionHandle, DialError, DrainOptions, Handler, HandlerFailure, Message,
    Supervisor,
};
use tokio::net::TcpListener;

use crate::endings::stage::{
    BOTH, BRIEF, House, Scene, Verdict, api, patient, said, settings, soon,
};
use crate::support::frame::{Frame, PING};
use crate::support::raw_peer::End;
use crate::support::{SOON, http};

/// A frame that breaks the rules of framing: RSV1 without an extension.
fn rsv() -> Frame {
    Frame::text("x").rsv(4)
}

#[tokio::test]
async fn rsv_bit_and_the_peer_is_silent_after_our_1002() {
    for role in BOTH {
        let mut scene = Scene::open(role, settings(|s| s.close.linger = BRIEF)).await;
        scene.peer.send_frame(rsv()).await;
        assert_eq!(scene.peer.expect_close(SOON).await.0, Some(1002));
        assert_eq!(scene.peer.expect_end(SOON).await, End::Fin);
        let verdict = Verdict {
            kind: Kind::ProtocolViolation,
            fault: Fault::Peer,
            first_close: FirstClose::Local,
            cause: Cause::Violation,
            state: CloseState::CloseSent,
            transport_end: TransportEnd::Timeout,
            close_code: 1006,
            close_sent: said(1002, "reserved bit set"),
            close_received: None,
        };
        verdict.assert(&*scene.ended().await, role);
    }
}

#[tokio::test]
async fn rsv_bit_and_our_1002_is_echoed() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.peer.send_frame(rsv()).await;
        assert_eq!(scene.peer.expect_close(SOON).await.0, Some(1002));
        scene.peer.close(1002, "reserved bit set").await;
        scene.part().await;
        let verdict = Verdict {
            kind: Kind::ProtocolViolation,
            fault: Fault::Peer,
            first_close: FirstClose::Local,
            cause: Cause::Violation,
            state: CloseState::Closed,
            transport_end: TransportEnd::Fin,
            close_code: 1002,
            close_sent: said(1002, "reserved bit set"),
            close_received: said(1002, "reserved bit set"),
        };
        verdict.assert(&*scene.ended().await, role);
    }
}

#[tokio::test]
async fn the_peer_s_close_carries_an_illegal_code() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.peer.close(1006, "no").await;
        assert_eq!(scene.peer.expect_close(SOON).await.0, Some(1002));
        scene.part().await;
        let verdict = Verdict {
            kind: Kind::ProtocolViolation,
            fault: Fault::Peer,
            first_close: FirstClose::Peer,
            cause: Cause::Violation,
            state: CloseState::Closed,
            transport_end: TransportEnd::Fin,
            close_code: 1006,
            close_sent: said(1002, "Close frame with code 1006"),
            close_received: said(1006, "no"),
        };
        verdict.assert(&*scene.ended().await, role);
    }
}

#[tokio::test]
async fn a_violation_after_our_close() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.close_by_api(1000, "bye");
        assert_eq!(scene.peer.expect_close(SOON).await, (Some(1000), "bye".to_owned()));
        scene.peer.send_frame(rsv()).await;
        // No second Close.
        assert_eq!(scene.peer.expect_end(SOON).await, End::Fin);
        scene.peer.fin().await;
        let verdict = Verdict {
            kind: Kind::ProtocolViolation,
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
async fn too_big_and_the_peer_is_silent() {
    for role in BOTH {
        let brief = settings(|s| {
            s.close.linger = BRIEF;
            s.limits.max_frame_size = ByteSize(1000);
        });
        let mut scene = Scene::open(role, brief).await;
        scene.peer.send_header(Frame::binary([]), 1001).await;
        assert_eq!(scene.peer.expect_close(SOON).await.0, Some(1009));
        assert_eq!(scene.peer.expect_end(SOON).await, End::Fin);
        let ending = scene.ended().await;
        let limit = ending.outcome.limit.as_ref().unwrap();
        assert_eq!((limit.name, limit.limit, limit.observed), ("max_frame_size", 1000, 1001));
        let reason = "1001 bytes announced, over max_frame_size of 1000 bytes";
        let verdict = Verdict {
            kind: Kind::MessageTooBig,
            fault: Fault::Peer,
            first_close: FirstClose::Local,
            cause: Cause::Violation,
            state: CloseState::CloseSent,
            transport_end: TransportEnd::Timeout,
            close_code: 1006,
            close_sent: said(1009, reason),
            close_received: None,
        };
        verdict.assert(&ending, role);
    }
}

#[tokio::test]
async fn a_pong_is_overdue_and_the_1011_leaves() {
    for role in BOTH {
        let keepalive = settings(|s| {
            s.keepalive.ping_interval = BRIEF;
            s.keepalive.pong_timeout = BRIEF;
        });
        let mut scene = Scene::open(role, keepalive).await;
        assert_eq!(scene.peer.read_frame(SOON).await.opcode, PING);
        assert_eq!(scene.peer.expect_close(SOON).await, (Some(1011), "no pong".to_owned()));
        assert_eq!(scene.peer.expect_end(SOON).await, End::Fin);
        let verdict = Verdict {
            kind: Kind::PongTimeout,
            fault: Fault::Network,
            first_close: FirstClose::Local,
            cause: Cause::Keepalive,
            state: CloseState::CloseSent,
            transport_end: TransportEnd::Local,
            close_code: 1006,
            close_sent: said(1011, "no pong"),
            close_received: None,
        };
        verdict.assert(&*scene.ended().await, role);
    }
}

#[tokio::test]
async fn a_pong_is_overdue_and_the_1011_cannot_leave() {
    for role in BOTH {
        let keepalive = settings(|s| {
            s.close.linger = BRIEF;
            s.keepalive.ping_interval = BRIEF;
            s.keepalive.pong_timeout = BRIEF * 2;
        });
        let mut scene = Scene::open(role, keepalive).await;
        assert_eq!(scene.peer.read_frame(SOON).await.opcode, PING);
        // The Ping has left; now the socket fills, as the peer does not read.
        scene.send_too_much().await;
        let verdict = Verdict {
            kind: Kind::PongTimeout,
            fault: Fault::Network,
            first_close: FirstClose::None,
            cause: Cause::Keepalive,
            state: CloseState::Open,
            transport_end: TransportEnd::Local,
            close_code: 1006,
            close_sent: None,
            close_received: None,
        };
        verdict.assert(&*scene.ended().await, role);
    }
}

#[tokio::test]
async fn a_write_stalls() {
    for role in BOTH {
        let mut scene = Scene::open(role, settings(|s| s.limits.write_timeout = BRIEF)).await;
        scene.send_too_much().await;
        let ending = scene.ended().await;
        let limit = ending.outcome.limit.as_ref().unwrap();
        assert_eq!((limit.name, limit.limit), ("write_timeout", 300));
        let verdict = Verdict {
            kind: Kind::SlowConsumer,
            fault: Fault::Peer,
            first_close: FirstClose::None,
            cause: Cause::SlowConsumer,
            state: CloseState::Open,
            transport_end: TransportEnd::Local,
            close_code: 1006,
            close_sent: None,
            close_received: None,
        };
        verdict.assert(&ending, role);
        let rest = scene.peer.read_to_end(SOON).await;
        assert_eq!((rest.frames.len(), rest.end), (0, End::Reset));
    }
}

#[tokio::test]
async fn idle_timeout_is_echoed() {
    for role in BOTH {
        let mut scene = Scene::open(role, settings(|s| s.keepalive.idle_timeout = BRIEF)).await;
        assert_eq!(scene.peer.expect_close(SOON).await, (Some(3008), "idle".to_owned()));
        scene.peer.close(3008, "idle").await;
        scene.part().await;
        let ending = scene.ended().await;
        let limit = ending.outcome.limit.as_ref().unwrap();
        assert_eq!((limit.name, limit.limit), ("idle_timeout", 300));
        let verdict = Verdict {
            kind: Kind::Clean,
            fault: Fault::None,
            first_close: FirstClose::Local,
            cause: Cause::IdleTimeout,
            state: CloseState::Closed,
            transport_end: TransportEnd::Fin,
            close_code: 3008,
            close_sent: said(3008, "idle"),
            close_received: said(3008, "idle"),
        };
        verdict.assert(&ending, role);
    }
}

struct Panics;

impl Handler for Panics {
    async fn on_message(
        &mut self,
        _connection: &ConnectionHandle,
        message: Message,
    ) -> Result<(), HandlerFailure> {
        panic!("{:?} was too much", message.as_text());
    }
}

#[tokio::test]
async fn the_handler_panics_and_our_1011_is_echoed() {
    for role in BOTH {
        let backend = Backend::handler("panics", Panics);
        let mut scene = Scene::with_backend(role, patient(), backend).await;
        scene.peer.text("boo").await;
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
        assert!(ending.outcome.detail.contains("boo"), "{ending}");
        assert!(!reason.contains("boo"), "the peer is told too much: {reason}");
    }
}

#[tokio::test]
async fn abort() {
    for role in BOTH {
        for (cause, by) in [(Cause::Api, Some(api())), (Cause::Embedder, None)] {
            let mut scene = Scene::open(role, patient()).await;
            match &by {
                Some(_) => scene.connection.abort_with(cause, by.clone()),
                None => scene.connection.abort(),
            }
            assert_eq!(scene.peer.expect_end(SOON).await, End::Reset);
            let ending = scene.ended().await;
            assert_eq!(ending.outcome.by, by);
            let verdict = Verdict {
                kind: Kind::Aborted,
                fault: Fault::Operator,
                first_close: FirstClose::None,
                cause,
                state: CloseState::Open,
                transport_end: TransportEnd::Local,
                close_code: 1006,
                close_sent: None,
                close_received: None,
            };
            verdict.assert(&ending, role);
        }
    }
}

#[tokio::test]
async fn the_drain_s_deadline_passes_after_our_close() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        let by = Some(Requester::Drain("d1".into()));
        let options =
            DrainOptions { within: Duration::from_secs(1), by: by.clone(), ..Default::default() };
        let (report, close) =
            tokio::join!(scene.supervisor.drain(options), scene.peer.expect_close(SOON));
        assert_eq!((report.asked, report.cut), (1, 1));
        assert_eq!(close, (Some(1012), "service restart".to_owned()));
        assert_eq!(scene.peer.expect_end(SOON).await, End::Reset);
        let ending = scene.ended().await;
        assert_eq!(ending.outcome.by, by);
        let verdict = Verdict {
            kind: Kind::DrainDeadline,
            fault: Fault::Operator,
            first_close: FirstClose::Local,
            cause: Cause::Drain,
            state: CloseState::CloseSent,
            transport_end: TransportEnd::Local,
            close_code: 1006,
            close_sent: said(1012, "service restart"),
            close_received: None,
        };
        verdict.assert(&ending, role);
    }
}

#[tokio::test]
async fn a_second_signal_after_our_close() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        let by = Some(Requester::Signal("TERM"));
        let options = DrainOptions { by: by.clone(), ..Default::default() };
        let (supervisor, peer) = (&scene.supervisor, &mut scene.peer);
        let drained = soon("the drain", supervisor.drain(options));
        let (report, ()) = tokio::join!(drained, async {
            assert_eq!(peer.expect_close(SOON).await.0, Some(1012));
            supervisor.abort_all(by.clone());
            assert_eq!(peer.expect_end(SOON).await, End::Reset);
        });
        assert_eq!(report.cut, 0);
        let ending = scene.ended().await;
        assert_eq!(ending.outcome.by, by);
        let verdict = Verdict {
            kind: Kind::Aborted,
            fault: Fault::Operator,
            first_close: FirstClose::Local,
            cause: Cause::Drain,
            state: CloseState::CloseSent,
            transport_end: TransportEnd::Local,
            close_code: 1006,
            close_sent: said(1012, "service restart"),
            close_received: None,
        };
        verdict.assert(&ending, role);
    }
}

#[tokio::test]
async fn an_attempt() {
    let mut house = House::open(Supervisor::builder(), vec![]).await;
    let gone = format!("ws://{}/", closed_port().await);
    assert!(matches!(house.supervisor.dial(&gone).receive().await, Err(DialError::Failed(_))));
    let dialled = house.next_ending().await;
    assert_eq!(
        http::exchange(house.address, "GET / HTTP/1.1\r\n\r\n", SOON).await.head.status(),
        400
    );
    let refused = house.next_ending().await;
    for (ending, failure, transport_end) in [
        (dialled, OpenFailure::ConnectRefused, None),
        (refused, OpenFailure::BadRequest, Some(TransportEnd::Fin)),
    ] {
        let outcome = &ending.outcome;
        assert_eq!(outcome.kind, Kind::OpenFailed(failure), "{ending}");
        assert_eq!((outcome.first_close, outcome.cause), (FirstClose::None, Cause::None));
        assert_eq!((outcome.state, outcome.close_code()), (None, None));
        assert_eq!(outcome.transport_end, transport_end, "{ending}");
    }
    let accounting = house.supervisor.accounting();
    assert_eq!(
        (accounting.opened, accounting.open, accounting.ended),
        (0, 0, 0),
        "attempts are not counted"
    );
}

/// An address without a listener.
async fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}
