//! How the last connection ended decides when, and whether, the next is dialled.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use lastword::settings::SecretSource;
use lastword::vocabulary::{Cause, DialerChange, DialerPhase, Kind, OpenFailure};
use lastword::{Backend, Supervisor};

use super::stage::{Feed, Scene, close, closed, options, reset, say, soon};

#[tokio::test]
async fn a_reset_is_dialled_again_and_the_gap_is_an_event_with_times() {
    let mut scene = Scene::new(|_| ()).await;
    let first = scene.feed.accept().await;
    scene.reaches(DialerPhase::Ready).await;
    let old = scene.dialer.connection().unwrap().id();
    reset(first);
    let reconnecting = scene.next_reconnecting().await;
    assert_eq!(reconnecting.ending.outcome.kind, Kind::ConnectionReset);
    assert_eq!((reconnecting.ending.id, reconnecting.attempt), (old, 1));
    let _second = scene.feed.accept().await;
    let gap = scene.change(|change| match change {
        DialerChange::Ready { connection, replaces: None, gap } if *connection != old => *gap,
        _ => None,
    });
    let gap = gap.await;
    assert!(gap.from >= reconnecting.ending.opened_at && gap.until <= SystemTime::now());
    let status = scene.dialer.status();
    assert_eq!((status.phase, status.opened, status.gaps), (DialerPhase::Ready, 2, 1));
    assert_eq!(status.last.unwrap().id, old);
    assert!(status.url.ends_with("/stream?token=***"), "{}", status.url);
}

#[tokio::test]
async fn every_attempt_that_fails_is_an_open_failed_ending_of_the_dialer() {
    let mut scene = Scene::new(|_| ()).await;
    scene.feed.refuse("500 Internal Server Error").await;
    let ending = scene.next_ending().await;
    let failure = OpenFailure::UpgradeRejected { status: 500 };
    assert_eq!(ending.outcome.kind, Kind::OpenFailed(failure));
    assert_eq!(ending.origin.dialer.as_deref(), Some("feed"));
    assert_eq!(ending.origin.backend.as_deref(), Some("none"));
    let _second = scene.feed.accept().await;
    let status = scene.reaches(DialerPhase::Ready).await;
    assert_eq!((status.attempts, status.opened, status.gaps), (1, 1, 0));
}

#[tokio::test]
async fn a_backend_that_cannot_be_made_is_an_attempt_that_failed_and_the_next_may_open() {
    let supervisor = Supervisor::builder().start().await.unwrap();
    let (feed, mut endings) = (Feed::new().await, supervisor.endings());
    let made = AtomicUsize::new(0);
    let options = options("feed", &feed.url()).backend(move || {
        assert!(made.fetch_add(1, Ordering::Relaxed) > 0, "no backend today");
        Backend::none()
    });
    let dialer = supervisor.keep(options).unwrap();
    let ending = soon("an attempt", endings.next()).await.unwrap().unwrap();
    assert_eq!(ending.outcome.kind, Kind::OpenFailed(OpenFailure::BackendRefused));
    assert!(ending.outcome.detail.contains("no backend today"), "{ending}");
    assert_eq!(ending.origin.dialer.as_deref(), Some("feed"));
    dialer.resume();
    let _socket = feed.accept().await;
    soon("the connection", dialer.wait_for(|status| status.phase == DialerPhase::Ready)).await;
}

#[tokio::test]
async fn a_wait_that_begins_behind_more_than_an_hour_is_no_fault() {
    let day = Duration::from_secs(24 * 3600);
    let mut scene = Scene::new(|options| {
        (options.dialer.reconnect.min, options.dialer.reconnect.max) = (day / 12, day);
    })
    .await;
    scene.feed.refuse("503 Service Unavailable\r\nRetry-After: 5").await;
    assert_eq!(scene.next_reconnecting().await.wait, day / 12);
    assert_eq!(scene.reaches(DialerPhase::Waiting).await.attempts, 1);
}

#[tokio::test]
async fn retry_after_of_a_refused_upgrade_is_respected_and_resume_is_now() {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
    for (header, least) in [("60".to_owned(), 59), (date, 95)] {
        let mut scene = Scene::new(|_| ()).await;
        scene.feed.refuse(&format!("503 Service Unavailable\r\nRetry-After: {header}")).await;
        let reconnecting = scene.next_reconnecting().await;
        let wait = reconnecting.next_try_at.duration_since(SystemTime::now()).unwrap();
        assert!((least..=120).contains(&wait.as_secs()), "{wait:?}");
        let status = scene.reaches(DialerPhase::Waiting).await;
        assert!(status.next_try_at.is_some() && status.why.unwrap().contains("503"));
        scene.feed.is_left_alone().await;
        scene.dialer.resume();
        let _socket = scene.feed.accept().await;
        assert_eq!(scene.reaches(DialerPhase::Ready).await.attempts, 0);
    }
}

#[tokio::test]
async fn secrets_are_read_anew_and_tried_at_the_longest_wait() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "Bearer old\n").unwrap();
    let source = SecretSource::File(file.clone());
    let mut scene = Scene::new(|options| {
        options.dialer.headers.insert("authorization".to_owned(), source);
    })
    .await;
    let head = scene.feed.refuse("401 Unauthorized").await;
    assert_eq!(head.header("authorization"), Some("Bearer old"));
    let reconnecting = scene.next_reconnecting().await;
    assert_eq!(reconnecting.wait, Duration::from_secs(600), "the longest");
    assert!(!format!("{:?}", reconnecting.ending).contains("Bearer"));

    std::fs::remove_file(&file).unwrap();
    scene.dialer.resume();
    let reconnecting = scene.next_reconnecting().await;
    assert_eq!(reconnecting.ending.outcome.kind, Kind::OpenFailed(OpenFailure::Unauthorized));
    assert!(reconnecting.ending.outcome.detail.contains(&*file.to_string_lossy()));

    std::fs::write(&file, "Bearer new").unwrap();
    scene.dialer.resume();
    let head = scene.feed.refuse("401 Unauthorized").await;
    assert_eq!(head.header("authorization"), Some("Bearer new"));
}

#[tokio::test]
async fn a_code_of_never_on_is_given_up_until_somebody_resumes() {
    for code in [1008, 4004] {
        let mut scene =
            Scene::new(|options| options.dialer.reconnect.never_on = vec![1008, 4004]).await;
        let socket = scene.feed.accept().await;
        close(socket, code, "go away").await;
        let why = scene.change(|change| match change {
            DialerChange::GivenUp { why, .. } => Some(why.clone()),
            _ => None,
        });
        assert!(why.await.contains(&code.to_string()));
        scene.reaches(DialerPhase::GivenUp).await;
        scene.feed.is_left_alone().await;
        scene.dialer.resume();
        scene.change(|change| matches!(change, DialerChange::Resumed).then_some(())).await;
        let _socket = scene.feed.accept().await;
        scene.reaches(DialerPhase::Ready).await;
    }
}

#[tokio::test]
async fn what_would_end_the_same_way_is_given_up() {
    let mut scene = Scene::new(|_| ()).await;
    scene.feed.refuse("404 Not Found").await;
    let status = scene.reaches(DialerPhase::GivenUp).await;
    assert!(status.why.unwrap().contains("404"));
    assert!(matches!(scene.next_ending().await.outcome.kind, Kind::OpenFailed(_)));
    scene.feed.is_left_alone().await;
}

#[tokio::test]
async fn a_feed_that_flaps_is_dialled_ever_more_rarely() {
    let mut scene = Scene::new(|options| options.dialer.reconnect.stable_after = LONG).await;
    for attempt in 1..=4 {
        close(scene.feed.accept().await, 1001, "flap").await;
        let reconnecting = scene.next_reconnecting().await;
        assert_eq!(reconnecting.attempt, attempt);
        let bound = Duration::from_millis(10) * 2_u32.pow(attempt);
        assert!(reconnecting.wait <= bound, "{:?}", reconnecting.wait);
    }
    assert_eq!(scene.dialer.status().attempts, 4);
}

#[tokio::test]
async fn one_that_held_starts_the_waits_anew() {
    let brief = Duration::from_millis(1);
    let mut scene = Scene::new(|options| options.dialer.reconnect.stable_after = brief).await;
    for _ in 0..3 {
        let mut socket = scene.feed.accept().await;
        scene.reaches(DialerPhase::Ready).await;
        say(&mut socket, "tick").await;
        tokio::time::sleep(brief * 2).await;
        close(socket, 1001, "restart").await;
        assert_eq!(scene.next_reconnecting().await.attempt, 1);
    }
}

#[tokio::test]
async fn a_silent_feed_is_stale_although_it_answers_pings() {
    let mut scene = Scene::new(|options| {
        options.dialer.stale_after = Duration::from_millis(400);
        let mut settings = lastword::settings::ConnectionSettings::default();
        settings.keepalive.ping_interval = Duration::from_millis(50);
        *options = options.clone().settings(settings);
    })
    .await;
    let mut socket = scene.feed.accept().await;
    // While messages come it is fresh.
    for _ in 0..6 {
        say(&mut socket, "tick").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(scene.dialer.status().phase, DialerPhase::Ready);
    }
    // Reading it answers Pings, until the Close.
    assert_eq!(closed(&mut socket).await, (1001, "stale".to_owned()));
    let ending = scene.next_ending().await;
    assert_eq!((ending.outcome.kind, ending.outcome.cause), (Kind::Clean, Cause::Stale));
    let limit = ending.outcome.limit.as_ref().unwrap();
    assert_eq!((limit.name, limit.limit), ("stale_after", 400));
    assert!((400..1000).contains(&limit.observed), "{limit:?}");
    assert!(ending.traffic.as_ref().unwrap().ping_rtt.is_some(), "it answered Pings");
    let _second = scene.feed.accept().await;
    scene.reaches(DialerPhase::Ready).await;
    assert_eq!(scene.dialer.status().gaps, 1);
}

#[tokio::test]
async fn the_second_dial_of_a_second_waits_for_the_budget() {
    let supervisor = lastword::Supervisor::builder().dials_per_second(4).start().await.unwrap();
    let feed = super::stage::Feed::new().await;
    let began = std::time::Instant::now();
    for name in ["a", "b", "c"] {
        supervisor.keep(super::stage::options(name, &feed.url())).unwrap();
    }
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(feed.accept().await);
    }
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    assert_eq!(supervisor.dialers().len(), 3);
}

const LONG: Duration = Duration::from_secs(600);
