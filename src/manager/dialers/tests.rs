//! A keeper's status agrees with what it announces. A keeper that panics shows it there, and restarts.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::timeout;
use tracing::subscriber::NoSubscriber;

use super::{DialerHandle, DialerOptions};
use crate::manager::{Route, Supervisor};
use crate::runtime::tasks::panic_points;
use crate::vocabulary::{DialerPhase, DialerStatus};

const SOON: Duration = Duration::from_secs(10);

async fn until(dialer: &DialerHandle, fits: impl Fn(&DialerStatus) -> bool) -> DialerStatus {
    let found = timeout(SOON, dialer.wait_for(fits)).await;
    found.unwrap_or_else(|_| panic!("in vain: {:?}", dialer.status())).unwrap()
}

/// A supervisor whose dialer keeps a connection to itself.
async fn house(name: &str) -> (Supervisor, DialerHandle) {
    let supervisor = Supervisor::builder().start().await.unwrap();
    let routes = vec![Route::echo("/echo").unwrap()];
    let listener =
        supervisor.listen("public", &"127.0.0.1:0".parse().unwrap(), routes).await.unwrap();
    let options = DialerOptions::new(name, format!("ws://{}/echo", listener.address()));
    let dialer = supervisor.keep(options).unwrap();
    until(&dialer, |status| status.phase == DialerPhase::Ready).await;
    (supervisor, dialer)
}

#[tokio::test]
async fn a_keeper_that_panics_says_so_and_dials_again() {
    let (_supervisor, dialer) = house("mined").await;
    let old = dialer.connection().unwrap();
    panic_points::arm("mined");
    // Any request makes its loop run once.
    dialer.resume();
    let status = until(&dialer, |status| status.phase == DialerPhase::Waiting).await;
    assert_eq!(status.why.as_deref(), Some("its task panicked: a test asked for it"));
    assert!(status.next_try_at.is_some());
    let ending = timeout(SOON, old.ended()).await.unwrap();
    assert_eq!(ending.outcome.close_sent.as_ref().unwrap().code().unwrap().get(), 1001);
    let status = until(&dialer, |status| status.phase == DialerPhase::Ready).await;
    assert_eq!((status.opened, status.gaps), (2, 1));
    assert_ne!(dialer.connection().unwrap().id(), old.id());
}

#[tokio::test]
async fn a_keeper_that_panics_may_be_paused_and_removed() {
    let (supervisor, dialer) = house("mined and paused").await;
    panic_points::arm("mined and paused");
    dialer.pause(None);
    until(&dialer, |status| status.phase == DialerPhase::Paused).await;
    dialer.resume();
    until(&dialer, |status| status.phase == DialerPhase::Ready).await;
    panic_points::arm("mined and paused");
    assert!(supervisor.remove_dialer(&dialer, None));
    let over = dialer.wait_for(|status| status.phase == DialerPhase::Connecting);
    assert_eq!(timeout(SOON, over).await.unwrap(), None);
}

#[tokio::test]
async fn a_keeper_that_cannot_begin_anew_has_given_up() {
    let (_supervisor, dialer) = house("mined twice").await;
    panic_points::arm("mined twice");
    panic_points::arm("mined twice again");
    dialer.resume();
    let over = dialer.wait_for(|status| status.phase == DialerPhase::GivenUp);
    let status = timeout(SOON, over).await.unwrap().unwrap_or_else(|| dialer.status());
    assert_eq!(status.phase, DialerPhase::GivenUp);
    assert!(status.why.unwrap().contains("panicked twice"));
}

/// A log that notes, with each message about a dialer, which phase its status shows at that moment.
#[derive(Clone, Default)]
struct Phases {
    dialer: Arc<OnceLock<DialerHandle>>,
    seen: Arc<Mutex<Vec<(String, DialerPhase)>>>,
}

impl io::Write for Phases {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        if let (Some(dialer), Some((_, message))) =
            (self.dialer.get(), text.split_once("the dialer "))
        {
            let message = message.split(" dialer=").next().unwrap_or_default().to_owned();
            self.seen.lock().push((message, dialer.status().phase));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_status_shows_a_change_before_it_is_announced() {
    let phases = Phases::default();
    let writer = phases.clone();
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    // While there is only one in the process, what another test's thread is the first to log stays
    // disabled for this one, too.
    let _second = tracing::Dispatch::new(NoSubscriber::new());
    // The runtime of a test is this thread, so the keeper logs to it.
    let _guard = tracing::subscriber::set_default(log.finish());
    let (_supervisor, dialer) = house("watched").await;
    phases.dialer.set(dialer.clone()).unwrap_or_else(|_| unreachable!("it is set once"));
    dialer.pause(None);
    until(&dialer, |status| status.phase == DialerPhase::Paused && status.connection.is_none())
        .await;
    dialer.resume();
    until(&dialer, |status| status.phase == DialerPhase::Ready).await;
    let expected = [
        ("was paused", DialerPhase::Paused),
        ("was resumed", DialerPhase::Waiting),
        ("is ready", DialerPhase::Ready),
    ];
    let expected = expected.map(|(message, phase)| (message.to_owned(), phase));
    assert_eq!(*phases.seen.lock(), expected);
}
