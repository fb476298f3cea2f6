//! FIN, and RST behind it because this end was still sending: the FIN is what ended the connection.

use std::time::Duration;

use lastword::settings::ByteSize;
use lastword::vocabulary::{
    Cause, CloseCode, CloseFrame, CloseState, Fault, FirstClose, Kind, Role, TransportEnd,
};
use lastword::{ConnectionHandle, Receiver, Supervisor};
use tokio::time::sleep;

use super::stage::{BOTH, Scene, TOO_MUCH, Verdict, api, ended, patient, said, settings};
use crate::support::SOON;
use crate::support::frame::Frame;
use crate::support::raw_peer::RawPeer;

/// A connection that does not read, because its receiver does not take.
struct Resting {
    connection: ConnectionHandle,
    peer: RawPeer,
    _kept: (Supervisor, Receiver),
}

impl Resting {
    async fn open(role: Role) -> Self {
        let scene = Scene::open(role, settings(|s| s.limits.inbox_bytes = ByteSize(1))).await;
        let Scene { supervisor, connection, messages, mut peer, .. } = scene;
        peer.send_frames(["one", "two"].map(Frame::text)).await;
        sleep(Duration::from_millis(20)).await;
        Self { connection, peer, _kept: (supervisor, messages) }
    }

    fn close_by_api(&self) {
        let frame = CloseFrame::coded(CloseCode::NORMAL, "bye");
        assert!(self.connection.close_with(frame, Cause::Api, Some(api())));
    }

    /// Sends until the connection has ended: the first message is answered with RST.
    async fn send_until_ended(&self) {
        while self.connection.send("more").await.is_ok() {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

fn prematurely(state: CloseState) -> Verdict {
    let closing = state == CloseState::CloseSent;
    Verdict {
        kind: Kind::ClosedPrematurely,
        fault: Fault::Peer,
        first_close: FirstClose::None,
        cause: if closing { Cause::Api } else { Cause::None },
        state,
        transport_end: TransportEnd::Fin,
        close_code: 1006,
        close_sent: None,
        close_received: None,
    }
}

#[tokio::test]
async fn a_failed_write_does_not_hide_the_fin_before_it() {
    for role in BOTH {
        let mut resting = Resting::open(role).await;
        // It has read all that was sent, so this is FIN.
        drop(std::mem::replace(&mut resting.peer, other_peer().await));
        resting.send_until_ended().await;
        prematurely(CloseState::Open).assert(&*ended(&resting.connection).await, role);
    }
}

#[tokio::test]
async fn the_peers_close_before_its_fin_is_still_read() {
    for role in BOTH {
        let mut resting = Resting::open(role).await;
        resting.peer.close(1001, "off").await;
        drop(std::mem::replace(&mut resting.peer, other_peer().await));
        resting.send_until_ended().await;
        let verdict = Verdict {
            kind: Kind::ConnectionReset,
            fault: Fault::Peer,
            first_close: FirstClose::Peer,
            cause: Cause::Peer,
            state: CloseState::CloseReceived,
            transport_end: TransportEnd::Reset,
            close_code: 1001,
            close_sent: None,
            close_received: said(1001, "off"),
        };
        verdict.assert(&*ended(&resting.connection).await, role);
    }
}

#[tokio::test]
async fn a_fin_instead_of_an_answer_is_told_from_the_reset_behind_it() {
    for role in BOTH {
        let mut resting = Resting::open(role).await;
        drop(std::mem::replace(&mut resting.peer, other_peer().await));
        // It leaves at once, and is answered with RST.
        resting.close_by_api();
        let verdict = Verdict {
            first_close: FirstClose::Local,
            close_sent: said(1000, "bye"),
            ..prematurely(CloseState::CloseSent)
        };
        verdict.assert(&*ended(&resting.connection).await, role);
    }
}

#[tokio::test]
async fn a_close_that_could_not_leave_any_more_is_not_the_first() {
    for role in BOTH {
        let mut resting = Resting::open(role).await;
        resting.connection.send(vec![0; TOO_MUCH]).await.unwrap();
        resting.close_by_api();
        sleep(Duration::from_millis(20)).await;
        let mut peer = std::mem::replace(&mut resting.peer, other_peer().await);
        peer.fin().await;
        peer.reset();
        prematurely(CloseState::CloseSent).assert(&*ended(&resting.connection).await, role);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_closes_its_socket_while_we_send_has_closed_prematurely() {
    for round in 0..60 {
        let role = BOTH[round % 2];
        let scene = Scene::open(role, patient()).await;
        let Scene { supervisor: _kept, connection, mut peer, .. } = scene;
        let sending = connection.clone();
        let sender = tokio::spawn(async move { while sending.send("more").await.is_ok() {} });
        for _ in 0..=round {
            peer.expect_text("more").await;
        }
        peer.fin().await;
        peer.reset();
        let ending = ended(&connection).await;
        prematurely(CloseState::Open).assert(&ending, (role, round));
        tokio::time::timeout(SOON, sender).await.expect("the sender is told").unwrap();
    }
}

/// A peer of nothing, to take the place of one that went.
async fn other_peer() -> RawPeer {
    RawPeer::adopted(crate::support::frame::Side::Client).await.0
}
