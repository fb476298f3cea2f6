//! `limits.message_timeout` where frames pass on: what is held back has its time, and so has each
//! piece of what streams.

use std::time::Duration;

use lastword::vocabulary::{Cause, Kind};

use super::stage::Scene;
use crate::support::SOON;
use crate::support::frame::{Frame, Side};
use crate::support::raw_peer::End;

const TIMEOUT: Duration = Duration::from_millis(600);

async fn scene() -> Scene {
    Scene::with(|settings| settings.limits.message_timeout = TIMEOUT, |_| {}).await
}

#[tokio::test]
async fn a_frame_that_is_held_back_and_not_finished_closes_its_connection() {
    let mut scene = scene().await;
    scene.client.send_part_of_payload(Frame::binary(vec![1; 1000]), 100).await;
    let (code, reason) = scene.client.expect_close(SOON).await;
    assert_eq!((code, &*reason), (Some(3008), "message timeout"));
    scene.client.fin().await;
    assert_eq!(scene.application.expect_end(SOON).await, End::Reset);
    let legs = scene.endings().await;
    assert_eq!(legs.client.outcome.kind, Kind::ClosedPrematurely, "{}", legs.client);
    assert_eq!(legs.client.outcome.cause, Cause::IdleTimeout);
    assert_eq!(legs.client.outcome.limit.as_ref().unwrap().name, "message_timeout");
}

#[tokio::test]
async fn a_frame_that_streams_takes_as_long_as_its_pieces_come() {
    let mut scene = scene().await;
    let frame = Frame::binary(vec![1; 100_000]).encode(Side::Client);
    for piece in frame.chunks(20_000) {
        scene.client.send_raw(piece).await;
        tokio::time::sleep(TIMEOUT / 2).await;
    }
    assert_eq!(scene.application.read_frame(SOON).await.payload.len(), 100_000);
    scene.leave().await;
}
