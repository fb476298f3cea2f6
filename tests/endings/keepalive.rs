//! Pings, silence, idleness and age.

use std::time::Duration;

use lastword::settings::{ByteSize, ConnectionSettings};
use lastword::vocabulary::{Cause, CloseState, Kind, TransportEnd};
use tokio::time::timeout;

use super::stage::{BOTH, BRIEF, Scene, patient, settings};
use crate::support::SOON;
use crate::support::frame::{CLOSE, Frame, PING, PONG};
use crate::support::raw_peer::End;

/// Longer than anything here takes, by a clock that is paused: it moves only when all wait.
const AN_HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn pings_are_on_by_default() {
    for role in BOTH {
        let mut scene = Scene::adopted(role, ConnectionSettings::default()).await;
        let began = tokio::time::Instant::now();
        for ping in 1..=3 {
            let frame = scene.peer.read_frame(AN_HOUR).await;
            assert_eq!(frame.opcode, PING);
            assert!(
                began.elapsed() <= Duration::from_millis(25_010) * ping,
                "{:?}",
                began.elapsed()
            );
            scene.peer.pong(frame.payload).await;
        }
        assert_eq!(scene.connection.state(), CloseState::Open);
    }
}

#[tokio::test(start_paused = true)]
async fn pings_can_be_switched_off() {
    for role in BOTH {
        let off = settings(|s| s.keepalive.ping_interval = Duration::ZERO);
        let mut scene = Scene::adopted(role, off).await;
        assert_eq!(scene.peer.expect_end(AN_HOUR).await, End::Timeout);
        assert_eq!(scene.connection.state(), CloseState::Open);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_up_no_later_than_interval_and_timeout_and_a_tenth() {
    for role in BOTH {
        for _ in 0..5 {
            let scene = Scene::adopted(role, ConnectionSettings::default()).await;
            let ending = timeout(AN_HOUR, scene.connection.ended()).await.unwrap();
            assert_eq!(ending.outcome.kind, Kind::PongTimeout);
            assert_eq!(ending.outcome.cause, Cause::Keepalive);
            let due = Duration::from_secs(25 + 20);
            assert!(ending.open_for <= due + due / 10, "{:?}", ending.open_for);
            assert!(ending.open_for >= due - due / 10, "{:?}", ending.open_for);
        }
    }
}

#[tokio::test]
async fn a_silent_peer_is_given_up_by_the_real_clock_too() {
    for role in BOTH {
        let keepalive = settings(|s| {
            s.keepalive.ping_interval = BRIEF;
            s.keepalive.pong_timeout = BRIEF;
        });
        let scene = Scene::open(role, keepalive).await;
        let ending = scene.ended().await;
        assert_eq!(ending.outcome.kind, Kind::PongTimeout);
        assert!(ending.open_for >= BRIEF + BRIEF - BRIEF / 10, "{:?}", ending.open_for);
    }
}

#[tokio::test]
async fn a_peer_that_answers_lives_and_its_round_trip_is_recorded() {
    for role in BOTH {
        let mut scene = Scene::open(
            role,
            settings(|s| {
                s.keepalive.ping_interval = Duration::from_millis(50);
            }),
        )
        .await;
        for _ in 0..5 {
            let ping = scene.peer.read_frame(SOON).await;
            assert_eq!(ping.opcode, PING);
            scene.peer.pong(ping.payload).await;
        }
        scene.connection.close_output(1000, "bye").unwrap();
        while scene.peer.read_frame(SOON).await.opcode != CLOSE {}
        scene.peer.close(1000, "bye").await;
        scene.part().await;
        let ending = scene.ended().await;
        assert!(ending.is_clean(), "{ending}");
        assert!(ending.traffic.as_ref().unwrap().ping_rtt.is_some());
    }
}

#[tokio::test]
async fn a_ping_is_answered_with_its_payload() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        for payload in [vec![], b"here?".to_vec(), vec![0xFF; 125]] {
            scene.peer.ping(payload.clone()).await;
            let pong = scene.peer.read_frame(SOON).await;
            assert_eq!((pong.opcode, pong.payload), (PONG, payload));
        }
    }
}

#[tokio::test]
async fn a_ping_between_fragments_is_answered_and_a_pong_unasked_is_no_error() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        let frames = [
            Frame::text("fr").unfinished(),
            Frame::ping("now?"),
            Frame::pong("never asked"),
            Frame::continuation("agments"),
        ];
        scene.peer.send_frames(frames).await;
        let pong = scene.peer.read_frame(SOON).await;
        assert_eq!((pong.opcode, &*pong.payload), (PONG, b"now?".as_slice()));
        scene.expect_messages(["fragments"]).await;
    }
}

#[tokio::test]
async fn keepalive_is_silent_after_our_close() {
    for role in BOTH {
        let often = settings(|s| {
            s.keepalive.ping_interval = Duration::from_millis(20);
            s.keepalive.pong_timeout = Duration::from_millis(20);
            s.keepalive.idle_timeout = Duration::from_millis(200);
            s.keepalive.max_age = Duration::from_millis(200);
        });
        let mut scene = Scene::open(role, often).await;
        scene.connection.close_output(1000, "bye").unwrap();
        while scene.peer.read_frame(SOON).await.opcode != CLOSE {}
        // No Ping, no 1011, no 3008, no 1001 for many times as long as each would take.
        assert_eq!(scene.peer.expect_end(Duration::from_millis(500)).await, End::Timeout);
        scene.peer.close(1000, "bye").await;
        scene.part().await;
        let ending = scene.ended().await;
        assert!(ending.is_clean(), "{ending}");
        assert_eq!(ending.outcome.cause, Cause::Embedder);
    }
}

#[tokio::test]
async fn a_ping_after_our_close_is_no_error_and_gets_no_pong() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        scene.connection.close_output(1000, "bye").unwrap();
        scene.peer.expect_close(SOON).await;
        scene.peer.ping("still there?").await;
        scene.peer.expect_silence().await;
        scene.peer.close(1000, "bye").await;
        scene.part().await;
        assert!(scene.ended().await.is_clean());
    }
}

#[tokio::test]
async fn an_idle_peer_is_closed_with_3008_and_pongs_are_not_data() {
    for role in BOTH {
        let idle = settings(|s| {
            s.keepalive.ping_interval = Duration::from_millis(50);
            s.keepalive.idle_timeout = BRIEF;
        });
        let mut scene = Scene::open(role, idle).await;
        let (code, reason) = loop {
            let frame = scene.peer.read_frame(SOON).await;
            match frame.opcode {
                PING => scene.peer.pong(frame.payload).await,
                _ => break frame.close_code_and_reason(),
            }
        };
        assert_eq!(code, Some(3008));
        scene.peer.close(3008, &reason).await;
        scene.part().await;
        let ending = scene.ended().await;
        assert!(ending.is_clean(), "{ending}");
        assert_eq!(ending.outcome.cause, Cause::IdleTimeout);
        assert!(ending.open_for >= BRIEF);
    }
}

#[tokio::test(start_paused = true)]
async fn data_either_way_puts_idleness_off() {
    for role in BOTH {
        let idle = settings(|s| {
            s.keepalive.ping_interval = Duration::ZERO;
            s.keepalive.idle_timeout = Duration::from_secs(10);
        });
        let mut scene = Scene::adopted(role, idle).await;
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(6)).await;
            scene.peer.text("theirs").await;
            timeout(AN_HOUR, scene.messages.receive()).await.unwrap().unwrap();
            tokio::time::sleep(Duration::from_secs(6)).await;
            scene.connection.send("ours").await.unwrap();
            assert_eq!(scene.peer.read_frame(AN_HOUR).await.payload, b"ours");
        }
        assert_eq!(scene.connection.state(), CloseState::Open);
        assert_eq!(scene.peer.expect_close(AN_HOUR).await.0, Some(3008));
    }
}

#[tokio::test]
async fn an_old_connection_is_closed_with_1001_though_data_travels() {
    for role in BOTH {
        let mut scene = Scene::open(role, settings(|s| s.keepalive.max_age = BRIEF)).await;
        scene.peer.text("busy").await;
        scene.expect_messages(["busy"]).await;
        let (code, reason) = scene.peer.expect_close(SOON).await;
        assert_eq!(code, Some(1001));
        scene.peer.close(1001, &reason).await;
        scene.part().await;
        let ending = scene.ended().await;
        assert!(ending.is_clean(), "{ending}");
        assert_eq!(ending.outcome.cause, Cause::MaxAge);
        let limit = ending.outcome.limit.as_ref().unwrap();
        assert_eq!((limit.name, limit.limit), ("max_age", 300));
    }
}

#[tokio::test]
async fn an_idle_peer_that_does_not_answer_our_3008_ends_as_close_timeout() {
    for role in BOTH {
        let idle = settings(|s| {
            s.keepalive.idle_timeout = BRIEF;
            s.close.timeout = BRIEF;
        });
        let mut scene = Scene::open(role, idle).await;
        assert_eq!(scene.peer.expect_close(SOON).await.0, Some(3008));
        assert_eq!(scene.peer.expect_end(SOON).await, End::Fin);
        let ending = scene.ended().await;
        assert_eq!(ending.outcome.kind, Kind::CloseTimeout);
        assert_eq!(ending.outcome.cause, Cause::IdleTimeout);
        assert_eq!(ending.outcome.transport_end, Some(TransportEnd::Timeout));
    }
}

/// A full inbox stops reading, so the Pong behind it is not seen.
#[tokio::test(start_paused = true)]
async fn the_pong_deadline_pauses_while_reading_does() {
    for role in BOTH {
        let full = settings(|s| {
            s.limits.inbox_bytes = ByteSize(1);
            s.limits.inbox_timeout = AN_HOUR;
        });
        let mut scene = Scene::adopted(role, full).await;
        scene.peer.send_frames([Frame::text("one"), Frame::text("two")]).await;
        tokio::time::sleep(AN_HOUR / 2).await;
        assert_eq!(scene.connection.state(), CloseState::Open);
        for _ in 0..2 {
            timeout(AN_HOUR, scene.messages.receive()).await.unwrap().unwrap();
        }
        let ending = timeout(AN_HOUR, scene.connection.ended()).await.unwrap();
        assert_eq!(ending.outcome.kind, Kind::PongTimeout, "{ending}");
    }
}
