//! How large a message may be: as large as it likes, unless somebody says otherwise.

use std::time::Duration;

use lastword::settings::ByteSize;
use lastword::vocabulary::{Cause, Fault, Kind};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::front::Front;
use super::stage::Scene;
use crate::support::SOON;
use crate::support::frame::{Frame, Side};

/// More than clients and applications may send where nothing is passed on.
const THERE: usize = 3 << 20;
const BACK: usize = 17 << 20;

/// How long as much may take on a busy machine.
const WHILE: Duration = SOON.saturating_mul(6);

#[tokio::test]
async fn by_default_messages_and_frames_of_any_size_pass_both_ways() {
    let front = Front::open(&[], "").await;
    let (mut client, mut application) = front.pair("/").await;
    for fragments in [1, 5] {
        let part = |all| vec![b'x'; all / fragments];
        for n in 0..fragments {
            let frame = |part: Vec<u8>| match (n, n + 1 == fragments) {
                (0, true) => Frame::binary(part),
                (0, false) => Frame::binary(part).unfinished(),
                (_, true) => Frame::continuation(part),
                (_, false) => Frame::continuation(part).unfinished(),
            };
            let there = async {
                client.send_frame(frame(part(THERE))).await;
                assert_eq!(client.read_frame(WHILE).await.payload.len(), BACK / fragments);
            };
            let back = async {
                let read = application.read_frame(WHILE).await;
                assert_eq!(read.payload.len(), THERE / fragments);
                let back = frame(part(BACK)).encode(Side::Server);
                let sent = timeout(WHILE, application.stream_mut().write_all(&back)).await;
                sent.expect("awaited that it is taken").unwrap();
            };
            tokio::join!(there, back);
        }
    }
}

#[tokio::test]
async fn a_limit_that_an_application_hits_is_named_to_its_client() {
    let mut scene =
        Scene::with(|_| {}, |relay| relay.max_message_size = Some(ByteSize(1000))).await;
    scene.application.send_header(Frame::binary(""), 1001).await;
    let (code, reason) = scene.client.expect_close(SOON).await;
    assert_eq!(code, Some(1011));
    assert_eq!(reason, "the application's message is over backend.max_message_size of 1000 bytes");
    scene.client.close(1011, "").await;
    assert_eq!(scene.application.expect_close(SOON).await.0, Some(1009));
    scene.part().await;
    scene.endings().await.assert(
        (Kind::BackendFailed, Cause::RelayPeer, Fault::Backend),
        (Kind::MessageTooBig, Cause::Violation, Fault::Peer),
    );
}

#[tokio::test]
async fn a_limit_that_a_client_hits_is_named_to_it() {
    let front = Front::open(&["routes[0].limits.max_message_size=1000"], "").await;
    let (mut client, _application) = front.pair("/").await;
    client.send_header(Frame::binary(""), 1001).await;
    let (code, reason) = client.expect_close(SOON).await;
    assert_eq!(code, Some(1009));
    assert!(reason.contains("max_message_size of 1000 bytes"), "{reason}");
}
