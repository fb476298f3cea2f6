//! Messages that neither end sent: between the messages that pass, never inside of one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lastword::settings::{ByteSize, OnFull};
use lastword::vocabulary::{Cause, Fault, Kind};
use lastword::{ConnectionHandle, Message, SendError};

use super::stage::{House, Scene, accept, application, connect, settings};
use crate::support::frame::{CONTINUATION, Frame, Side, TEXT};
use crate::support::raw_peer::{End, RawPeer};
use crate::support::{A_WHILE, SOON};

/// Reads a frame; one that is not masked as is due would fail.
async fn read(peer: &mut RawPeer) -> (bool, u8, String) {
    let frame = peer.read_frame(SOON).await;
    (frame.fin, frame.opcode, String::from_utf8(frame.payload).unwrap())
}

/// Reads the end of a message, and the one behind it.
async fn read_end_and(peer: &mut RawPeer, end: &str, text: &str) {
    assert_eq!(read(peer).await, (true, CONTINUATION, end.into()));
    peer.expect_text(text).await;
}

/// Sends on `leg` before, inside of and behind what passes to it.
async fn say_between(leg: &ConnectionHandle, from: &mut RawPeer, side: Side, to: &mut RawPeer) {
    leg.try_send("before").unwrap();
    to.expect_text("before").await;
    from.send_frame(Frame::text("a").unfinished()).await;
    assert_eq!(read(to).await, (false, TEXT, "a".into()));
    leg.try_send("between").unwrap();
    from.send_frame(Frame::continuation("b").unfinished()).await;
    assert_eq!(read(to).await, (false, CONTINUATION, "b".into()));
    assert!(leg.queued_bytes() > 0 && leg.status().traffic.undelivered_messages == 1);
    to.expect_silence().await;
    let rest = [Frame::continuation("c"), Frame::text("next")];
    from.send_raw(&rest.map(|frame| frame.encode(side)).concat()).await;
    read_end_and(to, "c", "between").await;
    to.expect_text("next").await;
}

#[tokio::test]
async fn it_waits_for_the_end_of_a_message_and_goes_before_the_next() {
    let mut scene = Scene::injecting(|_| {}).await;
    let (client_leg, application_leg) = scene.legs().await;
    let (client, application) = (&mut scene.client, &mut scene.application);
    say_between(&application_leg, client, Side::Client, application).await;
    say_between(&client_leg, application, Side::Server, client).await;
    client.close(1000, "").await;
    application.expect_close(SOON).await;
    application.close(1000, "").await;
    client.expect_close(SOON).await;
    scene.part().await;
    let legs = scene.endings().await;
    for ending in [&legs.client, &legs.application] {
        let traffic = ending.traffic.as_ref().unwrap();
        assert_eq!((traffic.messages_in, traffic.messages_out), (2, 4), "{ending}");
        assert_eq!((traffic.bytes_in, traffic.bytes_out), (7, 20));
        assert_eq!(traffic.undelivered_messages, 0);
    }
}

#[tokio::test]
async fn a_close_comes_after_what_was_accepted_before() {
    let mut scene = Scene::injecting(|_| {}).await;
    let (_, leg) = scene.legs().await;
    scene.client.send_frame(Frame::text("a").unfinished()).await;
    assert!(!scene.application.read_frame(SOON).await.fin);
    leg.try_send("accepted").unwrap();
    leg.close_output(1001, "moving").unwrap();
    assert!(matches!(
        leg.try_send("late").unwrap_err().error,
        SendError::InvalidState { .. } | SendError::Ended { .. }
    ));
    scene.application.expect_silence().await;
    scene.client.send_frame(Frame::continuation("b")).await;
    read_end_and(&mut scene.application, "b", "accepted").await;
    assert_eq!(scene.application.expect_close(SOON).await, (Some(1001), "moving".into()));
}

#[tokio::test]
async fn a_message_that_never_ends_costs_what_waits_for_it_and_says_so() {
    // The client leaves, or is lost, in the middle of a message.
    for leaves in [true, false] {
        let mut scene = Scene::injecting(|_| {}).await;
        let (_, leg) = scene.legs().await;
        scene.client.send_frame(Frame::text("ab").unfinished()).await;
        assert!(!scene.application.read_frame(SOON).await.fin);
        leg.try_send("waits").unwrap();
        if leaves {
            scene.client.close(1001, "bye").await;
            let close = scene.application.expect_close(SOON).await;
            assert_eq!(close, (Some(1001), "bye".into()));
            scene.application.close(1001, "bye").await;
            scene.client.expect_close(SOON).await;
            scene.part().await;
        } else {
            let gone = std::mem::replace(&mut scene.client, RawPeer::adopted(Side::Client).await.0);
            gone.reset();
        }
        let legs = scene.endings().await;
        let kind = if leaves { Kind::Clean } else { Kind::Aborted };
        assert_eq!(legs.application.outcome.kind, kind, "{}", legs.application);
        let traffic = legs.application.traffic.as_ref().unwrap();
        // Ours, and the two bytes of the client's.
        assert_eq!((traffic.undelivered_messages, traffic.undelivered_bytes), (2, 7));
        assert_eq!(traffic.messages_out, 0);
    }
}

#[tokio::test]
async fn a_close_does_not_wait_for_ever_for_the_end_of_a_message() {
    let mut scene = Scene::injecting(|settings| {
        settings.close.timeout = A_WHILE;
        settings.close.linger = A_WHILE;
    })
    .await;
    let (_, leg) = scene.legs().await;
    scene.client.send_frame(Frame::text("a").unfinished()).await;
    assert!(!scene.application.read_frame(SOON).await.fin);
    leg.try_send("accepted").unwrap();
    leg.close_output(1001, "moving").unwrap();
    assert_eq!(scene.application.expect_end(SOON).await, End::Reset);
    drop(std::mem::replace(&mut scene.client, RawPeer::adopted(Side::Client).await.0));
    let legs = scene.endings().await;
    let ending = &legs.application;
    assert_eq!(ending.outcome.kind, Kind::Aborted, "{ending}");
    assert!(ending.outcome.detail.contains("did not complete a message"), "{ending}");
    assert_eq!(ending.traffic.as_ref().unwrap().undelivered_messages, 2);
}

#[tokio::test]
async fn what_waits_fills_the_outbox_and_does_not_hold_the_message_up() {
    let mut scene = Scene::injecting(|settings| {
        settings.limits.outbox_bytes = ByteSize(1000);
    })
    .await;
    let (leg, _) = scene.legs().await;
    scene.application.send_frame(Frame::binary("a").unfinished()).await;
    scene.client.read_frame(SOON).await;
    leg.try_send(Message::binary(vec![1; 990])).unwrap();
    let full = leg.try_send("x".repeat(20)).unwrap_err();
    assert!(matches!(full.error, SendError::Full { limit: 1000, .. }), "{full}");
    scene.application.send_frame(Frame::continuation(vec![2; 5000]).unfinished()).await;
    assert_eq!(scene.client.read_frame(SOON).await.payload.len(), 5000);
    scene.application.send_frame(Frame::continuation("")).await;
    assert!(scene.client.read_frame(SOON).await.fin);
    assert_eq!(scene.client.read_frame(SOON).await.payload, [1; 990]);
}

#[tokio::test]
async fn an_overflow_closes_at_once_if_that_is_wanted() {
    let mut scene = Scene::injecting(|settings| {
        settings.limits.outbox_bytes = ByteSize(1000);
        settings.limits.on_full = OnFull::Close;
    })
    .await;
    let (leg, _) = scene.legs().await;
    scene.application.send_frame(Frame::binary("begun").unfinished()).await;
    assert_eq!(scene.client.read_frame(SOON).await.payload, b"begun");
    leg.try_send(Message::binary(vec![1; 990])).unwrap();
    assert!(leg.try_send(Message::binary(vec![1; 990])).is_err());
    assert_eq!(scene.client.expect_close(SOON).await.0, Some(1013));
    drop(std::mem::replace(&mut scene.client, RawPeer::adopted(Side::Client).await.0));
    let legs = scene.endings().await;
    legs.assert(
        (Kind::SlowConsumer, Cause::SlowConsumer, Fault::Peer),
        (Kind::Aborted, Cause::RelayPeer, Fault::None),
    );
    let traffic = legs.client.traffic.as_ref().unwrap();
    assert_eq!((traffic.undelivered_messages, traffic.undelivered_bytes), (2, 995));
}

#[tokio::test]
async fn nothing_that_passes_goes_between_what_was_accepted_and_the_close() {
    let mut scene = Scene::injecting(|_| {}).await;
    let (_, leg) = scene.legs().await;
    scene.client.send_frame(Frame::text("a").unfinished()).await;
    assert_eq!(read(&mut scene.application).await, (false, TEXT, "a".into()));
    leg.try_send("between").unwrap();
    leg.close_output(1000, "").unwrap();
    // The end of the message, one more, and the beginning of a large one, in one segment.
    let large = Frame::binary(vec![7; 100_000]).encode(Side::Client);
    let frames = [Frame::continuation("b"), Frame::text("late")];
    let frames = frames.map(|frame| frame.encode(Side::Client)).concat();
    scene.client.send_raw(&[&frames, &large[..20_000]].concat()).await;
    read_end_and(&mut scene.application, "b", "between").await;
    assert_eq!(scene.application.expect_close(SOON).await.0, Some(1000));
    drop(std::mem::replace(&mut scene.application, RawPeer::adopted(Side::Server).await.0));
    drop(std::mem::replace(&mut scene.client, RawPeer::adopted(Side::Client).await.0));
    let legs = scene.endings().await;
    assert_eq!(legs.application.outcome.close_sent.as_ref().unwrap().code().unwrap().get(), 1000);
    let traffic = legs.client.traffic.as_ref().unwrap();
    assert_eq!((traffic.messages_in, traffic.discarded_messages), (2, 1), "{}", legs.client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_broadcast_gets_into_a_leg_before_it_is_one() {
    const PAIRS: usize = 150;
    let (listener, url) = application().await;
    let house = House::open(&url, settings(|_| {}), |_| {}).await;
    let over = Arc::new(AtomicBool::new(false));
    let (supervisor, stop) = (house.supervisor.clone(), Arc::clone(&over));
    let broadcasting = tokio::task::spawn_blocking(move || {
        let (mut matched, mut queued) = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            let report = supervisor.broadcast(Message::text("all"), |_| true);
            matched += report.matched;
            queued += report.queued;
        }
        (matched, queued)
    });
    for _ in 0..PAIRS {
        let pair = tokio::join!(connect(house.address, "/", ""), accept(&listener, ""));
        drop(pair);
    }
    over.store(true, Ordering::Relaxed);
    let (matched, queued) = broadcasting.await.unwrap();
    assert!(matched > 0 && queued == 0, "{queued} of {matched} were taken");
}

#[tokio::test]
async fn a_broadcast_reaches_both_ends() {
    let mut scene = Scene::injecting(|_| {}).await;
    scene.legs().await;
    scene.client.send_frame(Frame::text("a").unfinished()).await;
    assert!(!scene.application.read_frame(SOON).await.fin);
    let report = scene.house.supervisor.broadcast(Message::text("all"), |_| true);
    assert_eq!((report.matched, report.queued, report.refused), (2, 2, 0));
    scene.client.expect_text("all").await;
    scene.client.send_frame(Frame::continuation("b")).await;
    read_end_and(&mut scene.application, "b", "all").await;
}
