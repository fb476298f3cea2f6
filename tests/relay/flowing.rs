//! What flows: frames as they are, in bounded memory, at the pace of the slower side.

use std::time::Duration;

use lastword::settings::{ByteSize, OnRate};
use lastword::vocabulary::{Cause, Fault, Kind};
use lastword::{Message, SendError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stage::Scene;
use crate::support::frame::{Frame, Masking, PING, PONG, Side, TEXT};
use crate::support::{A_WHILE, SOON};

#[tokio::test]
async fn frames_keep_their_order_their_fragments_and_their_mask() {
    let mut scene = Scene::open().await;
    let mask = Masking::Key([1, 2, 3, 4]);
    let frames = [
        Frame::text("a").unfinished().masking(mask),
        Frame::continuation("ä").unfinished().masking(mask),
        Frame::continuation("").masking(mask),
        Frame::binary(vec![7; 70_000]).masking(mask),
        Frame::binary("").masking(mask),
    ];
    scene.client.send_frames(frames.clone()).await;
    for frame in &frames {
        assert_eq!(&scene.application.read_frame(SOON).await, frame);
    }
    scene.application.send_frames([Frame::text("x").unfinished(), Frame::continuation("y")]).await;
    assert!(!scene.client.read_frame(SOON).await.fin);
    assert_eq!(scene.client.read_frame(SOON).await.payload, b"y");
    let legs = scene.leave().await;
    let traffic = |ending: &lastword::Ending| {
        let traffic = ending.traffic.as_ref().unwrap();
        let messages = (traffic.messages_in, traffic.messages_out);
        (messages, (traffic.bytes_in, traffic.bytes_out), traffic.undelivered_messages)
    };
    assert_eq!(traffic(&legs.client), ((3, 1), (70_003, 2), 0));
    assert_eq!(traffic(&legs.application), ((1, 3), (2, 70_003), 0));
}

#[tokio::test]
async fn pings_are_each_hops_own_and_go_between_fragments() {
    let mut scene = Scene::open().await;
    scene.client.send_frame(Frame::text("a").unfinished()).await;
    assert_eq!(scene.application.read_frame(SOON).await.opcode, TEXT);
    scene.application.ping("app").await;
    let pong = scene.application.read_frame(SOON).await;
    assert_eq!((pong.opcode, &*pong.payload), (PONG, &b"app"[..]));
    scene.client.ping("client").await;
    assert_eq!(scene.client.read_frame(SOON).await.payload, b"client");
    scene.client.send_frame(Frame::continuation("b")).await;
    assert_eq!(scene.application.read_frame(SOON).await.payload, b"b");
    scene.client.expect_silence().await;
}

#[tokio::test]
async fn no_frame_of_our_own_goes_into_the_middle_of_another() {
    let mut scene = Scene::with(
        |settings| {
            settings.limits.max_message_size = ByteSize::mib(8);
            settings.limits.max_frame_size = ByteSize::mib(8);
        },
        |_| {},
    )
    .await;
    let big = Frame::binary(vec![9; 200_000]);
    let bytes = big.encode(Side::Client);
    scene.client.send_raw(&bytes[..150_000]).await;
    // The application is asked for a Pong, and its leg is closed, while it reads half a frame.
    scene.application.ping("now").await;
    tokio::time::sleep(A_WHILE).await;
    let legs = scene.house.supervisor.connections();
    let application = legs.iter().find(|leg| leg.origin().listener.is_none()).unwrap();
    application.close_output(1012, "moving").unwrap();
    tokio::time::sleep(A_WHILE).await;
    scene.client.send_raw(&bytes[150_000..]).await;
    assert_eq!(scene.application.read_frame(SOON).await.payload, big.payload);
    assert_eq!(scene.application.read_frame(SOON).await.opcode, PONG);
    assert_eq!(scene.application.expect_close(SOON).await, (Some(1012), "moving".into()));
}

#[tokio::test]
async fn a_client_that_sends_too_much_waits_and_loses_nothing() {
    let limits: [fn(&mut lastword::settings::Limits); 2] = [
        |limits| limits.bytes_per_second = ByteSize(2000),
        |limits| limits.messages_per_second = 20,
    ];
    for limit in limits {
        let mut scene = Scene::with(
            |settings| {
                limit(&mut settings.limits);
                settings.limits.on_rate = Some(OnRate::Slow);
            },
            |_| {},
        )
        .await;
        // Half a second above the rate, in frames that end at any byte.
        let frames = (0..30_u8).map(|n| Frame::binary(vec![n; 94]));
        let began = std::time::Instant::now();
        scene.client.send_frames(frames.clone()).await;
        for frame in frames {
            assert_eq!(scene.application.read_frame(SOON).await.payload, frame.payload);
        }
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(400), "{took:?}");
        // What the application sends is not limited.
        scene.application.send_frames((0..60).map(|_| Frame::text("x"))).await;
        for _ in 0..60 {
            assert_eq!(scene.client.read_frame(SOON).await.payload, b"x");
        }
        let legs = scene.leave().await;
        let traffic = legs.client.traffic.as_ref().unwrap();
        assert_eq!((traffic.messages_in, traffic.discarded_messages), (30, 0));
    }
}

#[tokio::test]
async fn a_hundred_mebibytes_pass_in_one_message_with_one_of_memory() {
    const SIZE: usize = 100 << 20;
    let mut scene = Scene::with(
        |settings| {
            settings.limits.max_message_size = ByteSize::mib(128);
            settings.limits.max_frame_size = ByteSize::mib(128);
        },
        |_| {},
    )
    .await;
    scene.client.send_header(Frame::binary(""), SIZE as u64).await;
    let Scene { house, client, application } = &mut scene;
    let (client, application) = (client.stream_mut(), application.stream_mut());
    let send = async {
        let chunk = vec![0x55; 1 << 16];
        for _ in 0..SIZE / chunk.len() {
            client.write_all(&chunk).await.unwrap();
        }
    };
    let receive = async {
        // The reader is slow to begin, so that everything on the way is full.
        tokio::time::sleep(A_WHILE * 2).await;
        let mut most = 0;
        let (mut buffer, mut read) = (vec![0; 1 << 16], 0);
        while read < SIZE + 14 {
            let n = application.read(&mut buffer).await.unwrap();
            assert_ne!(n, 0);
            read += n;
            let queued: usize =
                house.supervisor.connections().iter().map(|leg| leg.queued_bytes()).sum();
            most = most.max(queued);
        }
        (read, most)
    };
    let (_, (read, most)) =
        tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(send, receive) })
            .await
            .unwrap();
    assert_eq!(read, SIZE + 14);
    assert!((1..1 << 20).contains(&most), "{most} bytes were held");
}

#[tokio::test]
async fn a_slow_application_is_the_one_that_is_blamed() {
    let mut scene = Scene::with(
        |settings| {
            settings.limits.write_timeout = A_WHILE * 2;
            // The client of this test answers no Close.
            settings.close.timeout = A_WHILE;
            settings.close.linger = A_WHILE;
        },
        |_| {},
    )
    .await;
    let chunk = Frame::binary(vec![1; 60_000]).encode(Side::Client);
    let stream = scene.client.stream_mut();
    let flood = async { while stream.write_all(&chunk).await.is_ok() {} };
    // Backpressure reaches the client: it cannot go on until its leg is gone.
    tokio::time::timeout(SOON, flood).await.unwrap();
    scene.endings().await.assert(
        (Kind::BackendFailed, Cause::RelayPeer, Fault::Backend),
        (Kind::SlowConsumer, Cause::SlowConsumer, Fault::Peer),
    );
}

#[tokio::test]
async fn a_slow_client_is_the_one_that_is_blamed() {
    let mut scene =
        Scene::with(|settings| settings.limits.write_timeout = A_WHILE * 2, |_| {}).await;
    let chunk = Frame::binary(vec![1; 60_000]).encode(Side::Server);
    let stream = scene.application.stream_mut();
    let flood = async { while stream.write_all(&chunk).await.is_ok() {} };
    tokio::time::timeout(SOON, flood).await.unwrap();
    scene.endings().await.assert(
        (Kind::SlowConsumer, Cause::SlowConsumer, Fault::Peer),
        (Kind::Aborted, Cause::RelayPeer, Fault::None),
    );
}

#[tokio::test]
async fn compressed_frames_pass_untouched_if_that_was_agreed_on() {
    let (offer, answer) = (
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-other\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n",
    );
    let mut scene = Scene::between(|_| {}, |_| {}, offer, answer).await;
    let asked = scene.application.head.header("sec-websocket-extensions");
    assert_eq!(asked, Some("permessage-deflate; client_max_window_bits"));
    let agreed = scene.client.head.header("sec-websocket-extensions");
    assert_eq!(agreed, Some("permessage-deflate; server_max_window_bits=10"));
    let frame = Frame::new(TEXT, [0xff, 0xfe]).rsv(4);
    scene.client.send_frame(frame.clone()).await;
    let passed = scene.application.read_frame(SOON).await;
    assert_eq!((passed.rsv, passed.payload), (4, frame.payload.clone()));
    scene.application.send_frame(frame).await;
    assert_eq!(scene.client.read_frame(SOON).await.rsv, 4);
}

#[tokio::test]
async fn no_third_party_sends_into_a_relayed_connection() {
    let mut scene = Scene::open().await;
    for leg in scene.house.supervisor.connections() {
        let refused = leg.try_send("injected").unwrap_err();
        assert_eq!(refused.error, SendError::Relayed);
    }
    let report = scene.house.supervisor.broadcast(Message::text("all"), |_| true);
    assert_eq!((report.matched, report.queued, report.refused), (2, 0, 2));
    scene.client.expect_silence().await;
}

#[tokio::test]
async fn silence_is_noticed_on_each_leg_by_itself() {
    let mut scene = Scene::with(
        |settings| {
            settings.keepalive.ping_interval = A_WHILE * 4;
            settings.keepalive.pong_timeout = A_WHILE;
        },
        |_| {},
    )
    .await;
    let (client, application) = (&mut scene.client, &mut scene.application);
    let answering = async {
        let ping = application.read_frame(SOON).await;
        assert_eq!(ping.opcode, PING);
        application.pong(ping.payload).await;
    };
    let silent = async {
        assert_eq!(client.read_frame(SOON).await.opcode, PING);
        assert_eq!(client.expect_close(SOON).await.0, Some(1011));
    };
    tokio::join!(answering, silent);
    scene.endings().await.assert(
        (Kind::PongTimeout, Cause::Keepalive, Fault::Network),
        (Kind::Aborted, Cause::RelayPeer, Fault::None),
    );
}
