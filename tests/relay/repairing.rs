//! Whatever one side does wrong is answered here, and does not reach the other.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use lastword::settings::ByteSize;
use lastword::vocabulary::{Cause, Fault, Kind};
use tokio::net::TcpListener;

use super::stage::{House, Scene, settings};
use crate::support::SOON;
use crate::support::frame::{Frame, LengthForm, Masking, Side, TEXT};
use crate::support::raw_peer::{End, RawPeer};

/// What a client does wrong, the kind of its ending, and the code it is told.
fn wrongs() -> Vec<(&'static str, Vec<u8>, Kind, u16)> {
    let client = |frame: Frame| frame.encode(Side::Client);
    let violation = |what, bytes| (what, bytes, Kind::ProtocolViolation, 1002);
    vec![
        violation("reserved bit", client(Frame::text("x").rsv(4))),
        violation("reserved opcode", client(Frame::new(3, "x"))),
        violation("no mask", client(Frame::text("x").masking(Masking::Plain))),
        violation("long ping", client(Frame::ping(vec![0; 126]))),
        violation("cut ping", client(Frame::ping("x").unfinished())),
        violation("nothing to go on with", client(Frame::continuation("x"))),
        violation(
            "length",
            Frame::text("x").encode_with_length(Side::Client, LengthForm::SixtyFour),
        ),
        violation("close code", client(Frame::close(1005, ""))),
        violation("close of one byte", client(Frame::new(8, [3]))),
        ("text", client(Frame::new(TEXT, [0xc3, 0x28])), Kind::InvalidPayload, 1007),
        (
            "text in fragments",
            [client(Frame::text("ok").unfinished()), client(Frame::continuation([0xff]))].concat(),
            Kind::InvalidPayload,
            1007,
        ),
        ("close reason", client(Frame::close(1000, [0xff])), Kind::InvalidPayload, 1007),
        ("size", client(Frame::binary(vec![0; 200_001])), Kind::MessageTooBig, 1009),
    ]
}

#[tokio::test]
async fn what_a_client_does_wrong_is_its_own_fault_and_stays_here() {
    for (what, bytes, kind, code) in wrongs() {
        let mut scene = Scene::with(
            |settings| {
                settings.limits.max_message_size = ByteSize(200_000);
                settings.limits.max_frame_size = ByteSize(200_000);
            },
            |_| {},
        )
        .await;
        scene.client.text("good").await;
        // It may be refused before all of it has left.
        let _ = scene.client.try_send_raw(&bytes).await;
        assert_eq!(scene.client.expect_close(SOON).await.0, Some(code), "{what}");
        scene.application.expect_text("good").await;
        let rest = scene.application.read_to_end(SOON).await;
        assert!(rest.frames.iter().all(|frame| frame.payload == b"ok"), "{what}: {rest:?}");
        assert!(rest.tail.is_empty(), "{what}: {rest:?}");
        assert_eq!(rest.end, End::Reset, "{what}");
        drop(std::mem::replace(&mut scene.client, RawPeer::adopted(Side::Client).await.0));
        scene.endings().await.assert(
            (kind, Cause::Violation, Fault::Peer),
            (Kind::Aborted, Cause::RelayPeer, Fault::None),
        );
    }
}

#[tokio::test]
async fn what_an_application_does_wrong_reaches_the_client_as_a_right_close() {
    let server = |frame: Frame| frame.encode(Side::Server);
    for (what, bytes, kind) in [
        ("reserved bit", server(Frame::text("x").rsv(4)), Kind::ProtocolViolation),
        (
            "mask",
            server(Frame::text("x").masking(Masking::Key([1, 2, 3, 4]))),
            Kind::ProtocolViolation,
        ),
        ("close code", server(Frame::close(1006, "no")), Kind::ProtocolViolation),
        ("close code", server(Frame::close(999, "")), Kind::ProtocolViolation),
        ("text", server(Frame::new(TEXT, [0xff])), Kind::InvalidPayload),
    ] {
        let mut scene = Scene::open().await;
        scene.application.send_raw(&bytes).await;
        assert_eq!(scene.client.expect_close(SOON).await.0, Some(1011), "{what}");
        scene.client.close(1011, "").await;
        assert_eq!(scene.client.expect_end(SOON).await, End::Fin, "{what}");
        scene.client.fin().await;
        drop(std::mem::replace(&mut scene.application, RawPeer::adopted(Side::Client).await.0));
        scene.endings().await.assert(
            (Kind::BackendFailed, Cause::RelayPeer, Fault::Backend),
            (kind, Cause::Violation, Fault::Peer),
        );
    }
}

#[tokio::test]
async fn a_close_behind_a_violation_does_not_pass() {
    let wrong = [Frame::text("x").rsv(4), Frame::close(1000, "all is well")];
    let mut scene = Scene::open().await;
    scene.client.send_frames(wrong.clone()).await;
    assert_eq!(scene.client.expect_close(SOON).await.0, Some(1002));
    assert_eq!(scene.application.expect_end(SOON).await, End::Reset);

    let mut scene = Scene::open().await;
    scene.application.send_frames(wrong).await;
    assert_eq!(scene.client.expect_close(SOON).await.0, Some(1011));
    assert_eq!(scene.application.expect_close(SOON).await.0, Some(1002));
    scene.client.close(1011, "").await;
    assert_eq!(scene.client.expect_end(SOON).await, End::Fin);
    scene.client.fin().await;
    scene.application.fin().await;
    scene.endings().await.assert(
        (Kind::BackendFailed, Cause::RelayPeer, Fault::Backend),
        (Kind::ProtocolViolation, Cause::Violation, Fault::Peer),
    );
}

#[tokio::test]
async fn a_naive_application_looks_like_a_correct_one() {
    let url = format!("ws://{}", naive_echo().await);
    let mut house = House::open(&url, settings(|_| {}), |_| {}).await;
    let mut client = RawPeer::connect(house.address, "/").await;
    client.text("hello").await;
    client.expect_text("hello").await;
    client.close(1000, "bye").await;
    assert_eq!(client.expect_close(SOON).await, (Some(1000), "bye".into()));
    assert_eq!(client.expect_end(SOON).await, End::Fin);
    drop(client);
    for _ in 0..2 {
        let ending = house.next_ending().await;
        assert!(ending.is_clean(), "{ending}");
    }
    let mut client = RawPeer::connect(house.address, "/").await;
    client.send_frame(Frame::new(TEXT, [0xff])).await;
    assert_eq!(client.expect_close(SOON).await.0, Some(1007));
}

/// The echo that everybody writes with tokio-tungstenite.
async fn naive_echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut socket = tokio_tungstenite::accept_async(socket).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() || message.is_binary() {
                        let _ = socket.send(message).await;
                    }
                }
            });
        }
    });
    address
}
