//! Closes pass as what they are, and so do the answers to them.

use std::time::Duration;

use lastword::DrainOptions;
use lastword::policy::drain::Pace;
use lastword::settings::ByteSize;
use lastword::vocabulary::{Cause, CloseCode, CloseFrame, Direction, Fault, FirstClose, Kind};
use tokio::io::AsyncWriteExt;

use super::stage::{House, Scene, accept, application, connect, sent, settings};
use crate::support::SOON;
use crate::support::frame::{Frame, Side};

#[tokio::test]
async fn a_clients_close_reaches_the_application_and_its_answer_comes_back() {
    let mut scene = Scene::open().await;
    scene.client.close(3001, "enough").await;
    assert_eq!(scene.application.expect_close(SOON).await, (Some(3001), "enough".into()));
    // Until the application has answered, it may still send.
    scene.client.expect_silence().await;
    scene.application.text("one more").await;
    scene.client.expect_text("one more").await;
    scene.application.close(3002, "fine").await;
    assert_eq!(scene.client.expect_close(SOON).await, (Some(3002), "fine".into()));
    scene.part().await;
    let legs = scene.endings().await;
    legs.assert(
        (Kind::Clean, Cause::Peer, Fault::None),
        (Kind::Clean, Cause::RelayPeer, Fault::None),
    );
    assert_eq!(legs.client.outcome.first_close, FirstClose::Peer);
    assert_eq!(legs.application.outcome.first_close, FirstClose::Local);
    assert_eq!(sent(&legs.client), Some(3002));
    assert_eq!(sent(&legs.application), Some(3001));
}

#[tokio::test]
async fn an_applications_close_reaches_the_client_and_its_answer_comes_back() {
    let mut scene = Scene::open().await;
    scene.application.send_frames([Frame::text("last"), Frame::close(4000, "go")]).await;
    scene.client.expect_text("last").await;
    assert_eq!(scene.client.expect_close(SOON).await, (Some(4000), "go".into()));
    scene.client.close(4000, "go").await;
    assert_eq!(scene.application.expect_close(SOON).await, (Some(4000), "go".into()));
    scene.part().await;
    scene.endings().await.assert(
        (Kind::Clean, Cause::RelayPeer, Fault::None),
        (Kind::Clean, Cause::Peer, Fault::None),
    );
}

#[tokio::test]
async fn an_empty_close_stays_empty() {
    let mut scene = Scene::open().await;
    scene.client.close_empty().await;
    assert_eq!(scene.application.expect_close(SOON).await, (None, String::new()));
    scene.application.close_empty().await;
    assert_eq!(scene.client.expect_close(SOON).await, (None, String::new()));
    scene.part().await;
    let legs = scene.endings().await;
    assert_eq!(legs.client.outcome.close_code(), Some(1005));
}

#[tokio::test]
async fn crossing_closes_answer_each_other() {
    let mut scene = Scene::open().await;
    tokio::join!(scene.client.close(1001, ""), scene.application.close(1000, "bye"));
    assert_eq!(scene.client.expect_close(SOON).await, (Some(1000), "bye".into()));
    assert_eq!(scene.application.expect_close(SOON).await, (Some(1001), String::new()));
    scene.part().await;
    let legs = scene.endings().await;
    assert!(legs.client.is_clean() && legs.application.is_clean());
}

#[tokio::test]
async fn an_application_that_fails_says_so_with_its_code() {
    let mut scene = Scene::open().await;
    scene.application.close(1011, "oops").await;
    assert_eq!(scene.client.expect_close(SOON).await, (Some(1011), "oops".into()));
    scene.client.close(1011, "").await;
    scene.application.expect_close(SOON).await;
    scene.part().await;
    scene.endings().await.assert(
        (Kind::Clean, Cause::RelayPeer, Fault::Backend),
        (Kind::Clean, Cause::Peer, Fault::None),
    );
}

#[tokio::test]
async fn a_missing_answer_is_given_in_kind_in_time() {
    let mut scene = Scene::hasty().await;
    scene.client.close(1000, "bye").await;
    scene.application.expect_close(SOON).await;
    assert_eq!(scene.client.expect_close(SOON).await, (Some(1000), "bye".into()));
    scene.endings().await.assert(
        (Kind::Clean, Cause::Peer, Fault::None),
        (Kind::CloseTimeout, Cause::RelayPeer, Fault::Peer),
    );
}

#[tokio::test]
async fn a_leg_that_is_closed_here_takes_the_other_with_it() {
    let mut scene = Scene::open().await;
    let leg = scene.house.supervisor.connections();
    let client = leg.iter().find(|leg| leg.origin().listener.is_some()).unwrap();
    let frame = CloseFrame::coded(CloseCode::SERVICE_RESTART, "moving");
    client.close_with(frame, Cause::Api, None);
    assert_eq!(scene.client.expect_close(SOON).await, (Some(1012), "moving".into()));
    // What the client still sends is delivered until its own Close comes.
    scene.client.text("late").await;
    scene.application.expect_text("late").await;
    scene.client.close(1012, "moving").await;
    assert_eq!(scene.application.expect_close(SOON).await, (Some(1012), "moving".into()));
    scene.application.close(1012, "moving").await;
    scene.part().await;
    scene.endings().await.assert(
        (Kind::Clean, Cause::Api, Fault::Operator),
        (Kind::Clean, Cause::RelayPeer, Fault::None),
    );
}

#[tokio::test]
async fn an_application_that_answers_an_operators_close_is_not_at_fault() {
    let mut scene = Scene::open().await;
    let (_, application) = scene.legs().await;
    let frame = CloseFrame::coded(CloseCode::SERVICE_RESTART, "moving");
    application.close_with(frame, Cause::Api, None);
    assert_eq!(scene.application.expect_close(SOON).await, (Some(1012), "moving".into()));
    scene.application.close(1012, "moving").await;
    assert_eq!(scene.client.expect_close(SOON).await, (Some(1012), "moving".into()));
    scene.client.close(1012, "moving").await;
    scene.part().await;
    scene.endings().await.assert(
        (Kind::Clean, Cause::RelayPeer, Fault::None),
        (Kind::Clean, Cause::Api, Fault::Operator),
    );
}

#[tokio::test]
async fn while_a_closing_handshake_runs_out_what_finds_no_room_is_discarded() {
    const LIMIT: u64 = 64 * 1024;
    let mut scene = Scene::with(
        |settings| {
            settings.close.timeout = Duration::from_secs(3);
            settings.close.linger = Duration::from_millis(1500);
            settings.limits.outbox_bytes = ByteSize(LIMIT);
        },
        |_| {},
    )
    .await;
    let (client_leg, application_leg) = scene.legs().await;
    // The application reads nothing, and the client floods while its own leg is in `close_sent`.
    let socket = socket2::SockRef::from(scene.application.stream());
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    client_leg.close_output(1000, "").unwrap();
    let frame = Frame::binary(vec![7; 10_000]).encode(Side::Client);
    let (mut most, mut at) = (0, 0);
    while client_leg.ending().is_none() {
        let write = scene.client.stream_mut().write(&frame[at..]);
        let tick = tokio::time::sleep(Duration::from_millis(5));
        match tokio::time::timeout(Duration::from_millis(5), write).await {
            Ok(Ok(written)) => at = (at + written) % frame.len(),
            Ok(Err(_)) | Err(_) => tick.await,
        }
        most = most.max(application_leg.queued_bytes() as u64);
    }
    assert!(most >= LIMIT / 2, "{most} bytes were queued: the application is to hold it up");
    assert!(most <= LIMIT + 2 * 64 * 1024, "{most} bytes were queued");
    let legs = scene.endings().await;
    assert_eq!(legs.client.outcome.kind, Kind::CloseTimeout, "{}", legs.client);
    assert!(legs.client.traffic.as_ref().unwrap().discarded_messages > 0, "{}", legs.client);
}

#[tokio::test]
async fn a_drain_closes_both_legs() {
    let mut scene = Scene::open().await;
    let supervisor = scene.house.supervisor.clone();
    let drain = tokio::spawn(async move { supervisor.drain(Default::default()).await });
    assert_eq!(scene.client.expect_close(SOON).await.0, Some(1012));
    assert_eq!(scene.application.expect_close(SOON).await.0, Some(1012));
    scene.client.close(1012, "").await;
    scene.application.close(1012, "").await;
    scene.part().await;
    let legs = scene.endings().await;
    assert!(legs.client.is_clean() && legs.application.is_clean());
    assert_eq!(drain.await.unwrap().cut, 0);
}

#[tokio::test]
async fn a_paced_drain_is_the_operators_and_not_the_applications() {
    const PAIRS: usize = 8;
    let (listener, url) = application().await;
    let mut house = House::open(&url, settings(|_| {}), |_| {}).await;
    for _ in 0..PAIRS {
        let (client, application) =
            tokio::join!(connect(house.address, "/", ""), accept(&listener, ""));
        for mut peer in [client, application] {
            tokio::spawn(async move {
                assert_eq!(peer.expect_close(SOON).await.0, Some(1012));
                peer.close(1012, "").await;
                peer.fin().await;
                peer.read_to_end(SOON).await;
            });
        }
    }
    let spread = Duration::from_millis(400);
    let options = DrainOptions { pace: Pace::Over(spread), within: SOON, ..Default::default() };
    house.supervisor.drain(options).await;
    for _ in 0..2 * PAIRS {
        let ending = house.next_ending().await;
        let outcome = &ending.outcome;
        match (ending.origin.direction, outcome.cause) {
            // The client's answer may be here before the application's leg is asked.
            (Direction::Outbound, Cause::RelayPeer) => assert_eq!(outcome.fault, Fault::None),
            (_, cause) => assert_eq!((cause, outcome.fault), (Cause::Drain, Fault::Operator)),
        }
        assert!(ending.is_clean(), "{ending}");
    }
}
