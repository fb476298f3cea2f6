//! One side is lost: the other is ended correctly, and is not blamed.

use lastword::settings::OnClientLost;
use lastword::vocabulary::{Cause, CloseCode, Fault, Kind, TransportEnd};

use super::stage::{DROPPED, Scene, sent};
use crate::support::SOON;
use crate::support::frame::{Frame, Side};
use crate::support::raw_peer::{End, RawPeer};

#[tokio::test]
async fn a_lost_clients_application_is_dropped_as_it_would_have_been() {
    for reset in [true, false] {
        let mut scene = Scene::open().await;
        let client = std::mem::replace(&mut scene.client, passive_peer().await);
        let (kind, fault) = if reset {
            client.reset();
            (Kind::ConnectionReset, Fault::Peer)
        } else {
            drop(client);
            DROPPED
        };
        assert_eq!(scene.application.expect_end(SOON).await, End::Reset);
        scene
            .endings()
            .await
            .assert((kind, Cause::None, fault), (Kind::Aborted, Cause::RelayPeer, Fault::None));
    }
}

#[tokio::test]
async fn a_lost_clients_application_can_get_a_close_instead() {
    let mut scene = Scene::with(
        |_| {},
        |relay| relay.on_client_lost = OnClientLost::Close(CloseCode::GOING_AWAY),
    )
    .await;
    scene.client.send_frame(Frame::text("last words")).await;
    std::mem::replace(&mut scene.client, passive_peer().await).reset();
    scene.application.expect_text("last words").await;
    assert_eq!(scene.application.expect_close(SOON).await.0, Some(1001));
    scene.application.close(1001, "").await;
    scene.application.fin().await;
    scene.endings().await.assert(
        (Kind::ConnectionReset, Cause::None, Fault::Peer),
        (Kind::Clean, Cause::RelayPeer, Fault::None),
    );
}

#[tokio::test]
async fn a_lost_applications_client_gets_1012() {
    for reset in [true, false] {
        let mut scene = Scene::open().await;
        scene.application.text("last words").await;
        let application = std::mem::replace(&mut scene.application, passive_peer().await);
        let (kind, fault) = if reset {
            scene.client.expect_text("last words").await;
            application.reset();
            (Kind::ConnectionReset, Fault::Peer)
        } else {
            drop(application);
            scene.client.expect_text("last words").await;
            DROPPED
        };
        assert_eq!(scene.client.expect_close(SOON).await.0, Some(1012));
        scene.client.close(1012, "").await;
        assert_eq!(scene.client.expect_end(SOON).await, End::Fin);
        scene.client.fin().await;
        let legs = scene.endings().await;
        legs.assert(
            (Kind::BackendFailed, Cause::RelayPeer, Fault::Backend),
            (kind, Cause::None, fault),
        );
        assert_eq!(sent(&legs.client), Some(1012));
    }
}

#[tokio::test]
async fn how_the_application_went_is_known_though_the_clients_frames_met_it_first() {
    for round in 0..20 {
        let mut scene = Scene::open().await;
        scene.client.text("one").await;
        scene.application.expect_text("one").await;
        // The client's leg is woken before the application's, and writes into its socket.
        scene.client.text("two").await;
        let mut application = std::mem::replace(&mut scene.application, passive_peer().await);
        let kind = if round % 2 == 0 {
            Kind::ConnectionReset
        } else {
            application.fin().await;
            Kind::ClosedPrematurely
        };
        application.reset();
        scene.client.text("three").await;
        assert_eq!(scene.client.expect_close(SOON).await.0, Some(1012));
        scene.client.close(1012, "").await;
        assert_eq!(scene.client.expect_end(SOON).await, End::Fin);
        scene.client.fin().await;
        scene.endings().await.assert(
            (Kind::BackendFailed, Cause::RelayPeer, Fault::Backend),
            (kind, Cause::None, Fault::Peer),
        );
    }
}

#[tokio::test]
async fn an_application_lost_instead_of_answering_leaves_the_client_its_clean_close() {
    let mut scene = Scene::open().await;
    scene.client.close(1001, "tab closed").await;
    scene.application.expect_close(SOON).await;
    drop(std::mem::replace(&mut scene.application, passive_peer().await));
    assert_eq!(scene.client.expect_close(SOON).await, (Some(1001), "tab closed".into()));
    scene.client.fin().await;
    scene
        .endings()
        .await
        .assert((Kind::Clean, Cause::Peer, Fault::None), (DROPPED.0, Cause::RelayPeer, DROPPED.1));
}

#[tokio::test]
async fn a_frame_that_was_cut_in_half_is_followed_by_nothing() {
    // The application dies inside a frame of which the client has a part.
    let mut scene = Scene::open().await;
    let half = Frame::binary(vec![3; 100_000]).encode(Side::Server)[..60_000].to_vec();
    scene.application.send_raw(&half).await;
    scene.application.fin().await;
    let rest = scene.client.read_to_end(SOON).await;
    assert!(rest.frames.is_empty() && half.starts_with(&rest.tail), "{} bytes", rest.tail.len());
    assert_eq!(rest.end, End::Reset);
    let legs = scene.endings().await;
    legs.assert(
        (Kind::BackendFailed, Cause::RelayPeer, Fault::Backend),
        (Kind::ClosedPrematurely, Cause::None, Fault::Peer),
    );
    assert_eq!(sent(&legs.client), None);
    assert_eq!(legs.client.outcome.transport_end, Some(TransportEnd::Local));
    assert_eq!(legs.client.traffic.as_ref().unwrap().undelivered_messages, 1);

    // A small one is not begun before it is whole, and leaves the other side its Close.
    let mut scene = Scene::open().await;
    scene.application.send_start(Frame::binary(vec![3; 1000]), 500).await;
    scene.application.fin().await;
    assert_eq!(scene.client.expect_close(SOON).await.0, Some(1012));
}

#[tokio::test]
async fn an_answer_that_half_a_frame_bars_has_no_fault() {
    let mut scene = Scene::hasty().await;
    let half = Frame::binary(vec![3; 100_000]).encode(Side::Client)[..60_000].to_vec();
    scene.client.send_raw(&half).await;
    scene.application.stream().readable().await.unwrap();
    scene.application.close(1000, "bye").await;
    assert_eq!(scene.client.expect_close(SOON).await, (Some(1000), "bye".into()));
    assert_eq!(scene.application.read_to_end(SOON).await.end, End::Reset);
    scene.endings().await.assert(
        (Kind::CloseTimeout, Cause::RelayPeer, Fault::Peer),
        (Kind::Aborted, Cause::Peer, Fault::None),
    );
}

#[tokio::test]
async fn an_abort_takes_the_other_leg_with_it() {
    let mut scene = Scene::open().await;
    let legs = scene.house.supervisor.connections();
    legs.iter().find(|leg| leg.origin().listener.is_some()).unwrap().abort();
    assert_eq!(scene.client.expect_end(SOON).await, End::Reset);
    assert_eq!(scene.application.expect_end(SOON).await, End::Reset);
    scene.endings().await.assert(
        (Kind::Aborted, Cause::Embedder, Fault::Operator),
        (Kind::Aborted, Cause::RelayPeer, Fault::None),
    );
}

/// A peer that reads everything and sends nothing unasked.
async fn passive_peer() -> RawPeer {
    RawPeer::adopted(Side::Client).await.0
}
