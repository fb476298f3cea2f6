//! What a peer can do to TLS itself, to a connection of either role and through a relay.

use std::io::{Read, Write};
use std::sync::Arc;

use lastword::Ending;
use lastword::vocabulary::{
    Cause, CloseState, Direction, Fault, FirstClose, Kind, Role, TransportEnd,
};
use rustls::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use crate::endings::stage::{BOTH, Scene, ended, opposite, patient, settings, soon};
use crate::relay;
use crate::support::SOON;
use crate::support::frame::Frame;
use crate::support::raw_peer::RawPeer;
use crate::support::wire::Wire;

/// The TCP socket and the TLS session of a peer, which the test drives by hand.
struct Bare {
    socket: TcpStream,
    session: Connection,
}

impl Bare {
    fn of(peer: RawPeer) -> Self {
        let Wire::Tls(stream) = peer.into_stream() else { panic!("there is no TLS to take apart") };
        match *stream {
            TlsStream::Client(stream) => {
                let (socket, session) = stream.into_inner();
                Self { socket, session: session.into() }
            }
            TlsStream::Server(stream) => {
                let (socket, session) = stream.into_inner();
                Self { socket, session: session.into() }
            }
        }
    }

    /// Encrypts bytes to one record or more, and returns that without sending it.
    fn encrypt(&mut self, plaintext: &[u8]) -> Vec<u8> {
        self.session.writer().write_all(plaintext).unwrap();
        self.take()
    }

    fn take(&mut self) -> Vec<u8> {
        let mut ciphertext = Vec::new();
        while self.session.wants_write() {
            self.session.write_tls(&mut ciphertext).unwrap();
        }
        ciphertext
    }

    async fn send(&mut self, bytes: &[u8]) {
        soon("to send", self.socket.write_all(bytes)).await.unwrap();
    }

    /// Reads to the end of TCP; returns the plaintext, and whether close_notify came.
    async fn read_to_end(&mut self) -> (Vec<u8>, bool) {
        let mut ciphertext = Vec::new();
        // RST is an end, too.
        let _ = soon("the end of TCP", self.socket.read_to_end(&mut ciphertext)).await;
        let (mut rest, mut plaintext) = (&*ciphertext, Vec::new());
        while !rest.is_empty() && self.session.read_tls(&mut rest).unwrap() > 0 {
            self.session.process_new_packets().unwrap();
            let _ = self.session.reader().read_to_end(&mut plaintext);
        }
        let state = self.session.process_new_packets().unwrap();
        (plaintext, state.peer_has_closed())
    }

    fn reset(self) {
        self.socket.set_zero_linger().unwrap();
    }
}

/// What is decided about an ending.
fn verdict(ending: &Ending) -> (Kind, Fault, CloseState, TransportEnd) {
    let outcome = &ending.outcome;
    (outcome.kind, outcome.fault, outcome.state.unwrap(), outcome.transport_end.unwrap())
}

const TRUNCATED: (Kind, Fault, CloseState, TransportEnd) =
    (Kind::TlsTruncated, Fault::Network, CloseState::Open, TransportEnd::TlsTruncated);

#[tokio::test]
async fn tcp_that_ends_anywhere_without_close_notify_is_tls_truncated() {
    for role in BOTH {
        // Whole records, up to each byte of a frame; then each place in a record.
        let frame = Frame::text("hello").encode(opposite(role));
        for cut in 0..=frame.len() {
            let scene = Scene::open(role, patient()).await.without_receiver();
            let Scene { connection, peer, supervisor: _supervisor, .. } = scene;
            let mut bare = Bare::of(peer);
            let record = if cut == 0 { Vec::new() } else { bare.encrypt(&frame[..cut]) };
            bare.send(&record).await;
            bare.socket.shutdown().await.unwrap();
            let ending = ended(&connection).await;
            assert_eq!(verdict(&ending), TRUNCATED, "{role:?}, {cut}: {ending}");
            assert_eq!(ending.outcome.close_code(), Some(1006));
            assert_eq!(ending.traffic.as_ref().unwrap().messages_in, u64::from(cut == frame.len()));
        }
        for cut in [1, 4, 5, 6, 20] {
            let scene = Scene::open(role, patient()).await.without_receiver();
            let Scene { connection, peer, supervisor: _supervisor, .. } = scene;
            let mut bare = Bare::of(peer);
            let record = bare.encrypt(&frame);
            bare.send(&record[..cut]).await;
            bare.socket.shutdown().await.unwrap();
            let ending = ended(&connection).await;
            assert_eq!(verdict(&ending), TRUNCATED, "{role:?}, {cut} of a record: {ending}");
            assert_eq!(ending.traffic.as_ref().unwrap().messages_in, 0);
        }
    }
}

#[tokio::test]
async fn close_notify_without_a_close_is_a_premature_end_and_not_a_truncation() {
    for role in BOTH {
        // Half-closed: TCP stays open on both sides.
        let scene = Scene::open(role, patient()).await.without_receiver();
        let Scene { connection, peer, supervisor: _supervisor, .. } = scene;
        let mut bare = Bare::of(peer);
        bare.session.send_close_notify();
        let alert = bare.take();
        bare.send(&alert).await;
        let ending = ended(&connection).await;
        let expected = (Kind::ClosedPrematurely, Fault::Peer, CloseState::Open, TransportEnd::Fin);
        assert_eq!(verdict(&ending), expected, "{role:?}: {ending}");
        // It was answered in kind.
        assert!(bare.read_to_end().await.1, "close_notify of this end");
    }
}

#[tokio::test]
async fn a_close_each_way_is_clean_however_tls_ends() {
    for role in BOTH {
        for told in [true, false] {
            let scene = Scene::open(role, patient()).await.without_receiver();
            let Scene { connection, peer, supervisor: _supervisor, .. } = scene;
            let mut bare = Bare::of(peer);
            let close = bare.encrypt(&Frame::close(1001, "going").encode(opposite(role)));
            bare.send(&close).await;
            if told {
                bare.session.send_close_notify();
                let alert = bare.take();
                bare.send(&alert).await;
            }
            bare.socket.shutdown().await.unwrap();
            let ending = ended(&connection).await;
            let end = if told { TransportEnd::Fin } else { TransportEnd::TlsTruncated };
            let expected = (Kind::Clean, Fault::None, CloseState::Closed, end);
            assert_eq!(verdict(&ending), expected, "{role:?}, {told}: {ending}");
            assert_eq!(ending.outcome.cause, Cause::Peer);
            let (plaintext, notified) = bare.read_to_end().await;
            assert!(!plaintext.is_empty(), "our answer");
            assert!(notified, "close_notify behind it");
        }
    }
}

#[tokio::test]
async fn our_close_is_followed_by_close_notify_only_once_both_closes_are_through() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await.without_receiver();
        scene.close_by_api(1000, "bye");
        assert_eq!(scene.peer.expect_close(SOON).await.0, Some(1000));
        // A TLS 1.2 peer would have to answer close_notify at once, and drop what it has to send.
        scene.peer.expect_silence().await;
        scene.peer.text("on its way").await;
        scene.peer.close(1000, "bye").await;
        scene.part().await;
        let ending = scene.ended().await;
        assert_eq!(ending.outcome.kind, Kind::Clean);
        assert_eq!(ending.outcome.first_close, FirstClose::Local);
        assert_eq!(ending.traffic.as_ref().unwrap().messages_in, 1);
    }
}

#[tokio::test]
async fn truncation_instead_of_an_answer_to_our_close_is_told() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await.without_receiver();
        scene.close_by_api(1000, "bye");
        scene.peer.expect_close(SOON).await;
        let Scene { connection, peer, supervisor: _supervisor, .. } = scene;
        Bare::of(peer).socket.shutdown().await.unwrap();
        let ending = ended(&connection).await;
        let expected =
            (Kind::TlsTruncated, Fault::Network, CloseState::CloseSent, TransportEnd::TlsTruncated);
        assert_eq!(verdict(&ending), expected, "{role:?}: {ending}");
    }
}

#[tokio::test]
async fn a_reset_inside_of_a_record_is_a_reset() {
    for role in BOTH {
        let scene = Scene::open(role, patient()).await.without_receiver();
        let Scene { connection, peer, supervisor: _supervisor, .. } = scene;
        let mut bare = Bare::of(peer);
        let record = bare.encrypt(&Frame::text("hello").encode(opposite(role)));
        bare.send(&record[..10]).await;
        bare.reset();
        let ending = ended(&connection).await;
        let expected = (Kind::ConnectionReset, Fault::Peer, CloseState::Open, TransportEnd::Reset);
        assert_eq!(verdict(&ending), expected, "{role:?}: {ending}");
    }
}

#[tokio::test]
async fn a_record_that_was_changed_ends_the_connection_with_a_sentence() {
    for role in BOTH {
        let scene = Scene::open(role, patient()).await.without_receiver();
        let Scene { connection, peer, supervisor: _supervisor, .. } = scene;
        let mut bare = Bare::of(peer);
        let mut record = bare.encrypt(&Frame::text("hello").encode(opposite(role)));
        *record.last_mut().unwrap() ^= 1;
        bare.send(&record).await;
        let ending = ended(&connection).await;
        let expected =
            (Kind::TransportError, Fault::Network, CloseState::Open, TransportEnd::Error);
        assert_eq!(verdict(&ending), expected, "{role:?}: {ending}");
        let detail = &ending.outcome.detail;
        assert!(detail.contains("a TLS record of the peer could not be decrypted"), "{detail}");
    }
}

#[tokio::test]
async fn what_came_whole_before_a_bad_record_is_delivered() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        let peer = std::mem::replace(&mut scene.peer, RawPeer::adopted(opposite(role)).await.0);
        let mut bare = Bare::of(peer);
        let good = bare.encrypt(&Frame::text("whole").encode(opposite(role)));
        bare.send(&[&good[..], b"this is not TLS at all"].concat()).await;
        scene.expect_messages(["whole"]).await;
        scene.expect_no_more(Some(Kind::TransportError)).await;
    }
}

#[tokio::test]
async fn an_alert_of_the_peer_is_named() {
    for role in BOTH {
        let scene = Scene::open(role, patient()).await.without_receiver();
        let Scene { connection, peer, supervisor: _supervisor, .. } = scene;
        let mut bare = Bare::of(peer);
        // What the peer is sent makes it send a fatal alert.
        let garbage = [23, 3, 3, 0, 20, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7];
        bare.session.read_tls(&mut &garbage[..]).unwrap();
        bare.session.process_new_packets().unwrap_err();
        let alert = bare.take();
        bare.send(&alert).await;
        let ending = ended(&connection).await;
        assert_eq!(ending.outcome.kind, Kind::TransportError, "{role:?}: {ending}");
        let detail = &ending.outcome.detail;
        assert!(detail.contains("ended TLS with the alert bad_record_mac"), "{detail}");
    }
}

#[tokio::test]
async fn keys_are_updated_and_nothing_is_lost() {
    for role in BOTH {
        let scene = Scene::with_backend(role, patient(), lastword::Backend::echo()).await;
        let Scene { connection, peer, supervisor: _supervisor, .. } = scene;
        let mut bare = Bare::of(peer);
        for round in 0..5 {
            // KeyUpdate with update_requested: this end answers with one of its own.
            bare.session.refresh_traffic_keys().unwrap();
            let text = format!("round {round}");
            let record = bare.encrypt(&Frame::text(&text).encode(opposite(role)));
            bare.send(&record).await;
            // The echo, which this end masks as a client.
            let masked = if role == Role::Client { 4 } else { 0 };
            let (mut plaintext, due) = (Vec::new(), 2 + masked + text.len());
            while plaintext.len() < due {
                let mut ciphertext = [0; 4096];
                let read = soon("the echo", bare.socket.read(&mut ciphertext)).await.unwrap();
                assert!(read > 0, "TCP ended");
                bare.session.read_tls(&mut &ciphertext[..read]).unwrap();
                bare.session.process_new_packets().unwrap();
                let _ = bare.session.reader().read_to_end(&mut plaintext);
            }
            assert_eq!(plaintext.len(), due);
        }
        let close = bare.encrypt(&Frame::close(1000, "").encode(opposite(role)));
        bare.send(&close).await;
        bare.session.send_close_notify();
        let alert = bare.take();
        bare.send(&alert).await;
        bare.socket.shutdown().await.unwrap();
        let ending = ended(&connection).await;
        assert_eq!(ending.outcome.kind, Kind::Clean, "{ending}");
        assert_eq!(ending.traffic.as_ref().unwrap().messages_out, 5);
    }
}

#[tokio::test]
async fn a_lone_pong_leaves_tls_at_once() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await.without_receiver();
        for n in 0..3 {
            scene.peer.ping(format!("ping {n}")).await;
            let pong = scene.peer.read_frame(SOON).await;
            assert_eq!(pong.payload, format!("ping {n}").as_bytes());
        }
    }
}

#[tokio::test]
async fn a_pong_and_a_piece_that_the_kernel_did_not_take_leave_once_it_does() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await.without_receiver();
        // Fills the kernel, so that TLS holds back the last record.
        let mut sent = 0;
        while scene.connection.queued_bytes() == 0 {
            scene.connection.send(vec![7; 32 * 1024]).await.unwrap();
            tokio::task::yield_now().await;
            sent += 1;
        }
        scene.peer.ping("behind").await;
        let mut messages = 0;
        loop {
            let frame = scene.peer.read_frame(SOON).await;
            if frame.payload == b"behind" {
                break;
            }
            messages += 1;
        }
        // A Pong goes between messages, and the rest behind it.
        while messages < sent {
            scene.peer.read_frame(SOON).await;
            messages += 1;
        }
    }
}

#[tokio::test]
async fn a_piece_of_a_relayed_frame_leaves_tls_at_once() {
    let mut scene = relay::stage::Scene::open().await;
    // Larger than what a relay holds back until it is whole.
    let frame = Frame::binary(vec![3; 200_000]).encode(crate::support::frame::Side::Client);
    let (first, rest) = frame.split_at(100_000);
    scene.client.send_raw(first).await;
    let mut got = 0;
    let mut buffer = vec![0; 65_536];
    while got < 90_000 {
        let read = scene.application.stream_mut().read(&mut buffer);
        got += soon("a piece", read).await.unwrap();
    }
    scene.client.send_raw(rest).await;
    while got < 200_000 {
        let read = scene.application.stream_mut().read(&mut buffer);
        got += soon("the rest", read).await.unwrap();
    }
}

#[tokio::test]
async fn an_application_is_told_that_its_client_came_over_tls() {
    let scene = relay::stage::Scene::open().await;
    let head = &scene.application.head;
    assert_eq!(head.header("x-forwarded-proto"), Some("https"), "{head:?}");
    assert!(head.header("forwarded").unwrap().contains("proto=https"), "{head:?}");
}

#[tokio::test]
async fn truncation_and_close_notify_are_told_apart_through_a_relay() {
    for (told, kind) in [(true, Kind::ClosedPrematurely), (false, Kind::TlsTruncated)] {
        for of_client in [true, false] {
            let mut scene = relay::stage::Scene::open().await;
            let (from, side) = match of_client {
                true => (&mut scene.client, crate::support::frame::Side::Client),
                false => (&mut scene.application, crate::support::frame::Side::Server),
            };
            let mut bare = Bare::of(std::mem::replace(from, RawPeer::adopted(side).await.0));
            if told {
                bare.session.send_close_notify();
                let alert = bare.take();
                bare.send(&alert).await;
            }
            bare.socket.shutdown().await.unwrap();
            if !of_client {
                assert_eq!(scene.client.expect_close(SOON).await.0, Some(1012));
                scene.client.close(1012, "").await;
                scene.client.fin().await;
            }
            let legs = scene.endings().await;
            let ending: Arc<Ending> = match of_client {
                true => legs.client,
                false => legs.application,
            };
            let direction = if of_client { Direction::Inbound } else { Direction::Outbound };
            assert_eq!(ending.origin.direction, direction);
            assert_eq!(ending.outcome.kind, kind, "{told}: {ending}");
            assert_eq!(ending.origin.tls.as_deref(), Some("TLSv1.3"));
        }
    }
}

#[tokio::test]
async fn a_peer_that_stalls_in_the_end_of_tls_does_not_hold_up_the_ending() {
    let brief = settings(|s| s.close.linger = crate::endings::stage::BRIEF);
    for role in BOTH {
        let mut scene = Scene::open(role, brief.clone()).await.without_receiver();
        scene.close_by_api(1000, "bye");
        scene.peer.expect_close(SOON).await;
        scene.peer.close(1000, "bye").await;
        // Neither close_notify nor FIN of the peer.
        let ending = scene.ended().await;
        assert_eq!(ending.outcome.kind, Kind::Clean, "{role:?}: {ending}");
        assert_eq!(ending.outcome.transport_end, Some(TransportEnd::Timeout));
    }
}
