//! Keep-alives for the service manager's watchdog (`WatchdogSec=`), sent only while the supervisor, the
//! ledger, every listener and the runtime prove that they live.
//!
//! A task of the runtime asks the parts; a thread of its own decides and sends, so that a runtime that
//! hangs is noticed and named in the log.

use std::convert::Infallible;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{error, info};

use crate::manager::Supervisor;
use crate::policy::liveness::Liveness;
use crate::runtime::now;
use crate::runtime::tasks::{Owned, Task};
use crate::surfaces::systemd::{Notifier, watchdog_timeout};

const RUNTIME: &str = "the runtime";
const SUPERVISOR: &str = "the supervisor";
const LEDGER: &str = "the ledger";
/// Before the name of a listener.
const LISTENER: &str = "listener ";

/// The watchdog, which sends no more keep-alives once this is dropped.
pub(super) struct Watchdog {
    _asking: Owned,
    /// Its end ends the thread.
    _sending: mpsc::Sender<Infallible>,
}

impl Watchdog {
    /// Starts it, if the service manager expects keep-alives of this process.
    pub(super) fn start(supervisor: &Supervisor) -> Option<Self> {
        let expected = watchdog_timeout()?;
        info!(
            timeout = %humantime::format_duration(expected),
            "the service manager expects keep-alives"
        );
        Some(Self::start_with(supervisor, expected, Notifier::from_env()))
    }

    fn start_with(supervisor: &Supervisor, expected: Duration, notifier: Notifier) -> Self {
        let liveness = Liveness::new(expected, now());
        let pause = liveness.interval();
        let liveness = Arc::new(Mutex::new(liveness));
        let (sending, ended) = mpsc::channel();
        let decided = Arc::clone(&liveness);
        let send = move || {
            while ended.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Timeout) {
                decide(&decided, &notifier);
            }
        };
        let thread = thread::Builder::new().name("watchdog".to_owned()).spawn(send);
        if let Err(error) = thread {
            error!(%error, "the watchdog has no thread: the service manager will restart the daemon");
        }
        let supervisor = supervisor.clone();
        let asking = Owned::spawn(async move {
            let mut task = Task::new("watchdog");
            match task.keep(|| ask(&supervisor, &liveness, pause)).await {}
        });
        Self { _asking: asking, _sending: sending }
    }
}

/// Sends a keep-alive if every part lives, and logs which do not.
fn decide(liveness: &Mutex<Liveness>, notifier: &Notifier) {
    let verdict = liveness.lock().poll(Instant::now());
    for (part, silent) in verdict.hung {
        error!(
            part,
            silent_ms = silent.as_millis(),
            "{part} hangs: the service manager gets no keep-alives until it moves, and will restart the daemon"
        );
    }
    for part in verdict.recovered {
        info!(part, "{part} moves again");
    }
    if verdict.keep_alive {
        notifier.keep_alive();
    }
}

/// Asks every part for a proof of life, for as long as it is polled.
async fn ask(supervisor: &Supervisor, liveness: &Mutex<Liveness>, pause: Duration) -> Infallible {
    let mut turns = interval(pause);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        {
            let mut liveness = liveness.lock();
            let now = now();
            liveness.prove(RUNTIME, now);
            liveness.watch(SUPERVISOR, now);
            if let Some(turned) = supervisor.ledger_alive() {
                liveness.prove(LEDGER, turned);
            }
            let mut present = Vec::new();
            for listener in supervisor.listeners_alive() {
                let part = format!("{LISTENER}{}", listener.name);
                match listener.turned {
                    Some(turned) => liveness.prove(&part, turned),
                    None => liveness.watch(&part, now),
                }
                present.push(part);
            }
            liveness.retain(LISTENER, &present);
        }
        if timeout(pause, supervisor.answers()).await == Ok(true) {
            liveness.lock().prove(SUPERVISOR, now());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::manager::Route;

    /// A manager, a notifier to it, and a supervisor with a listener.
    async fn scene() -> (UnixDatagram, Notifier, Supervisor, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let supervisor = Supervisor::builder().start().await.unwrap();
        let routes = vec![Route::echo("/echo").unwrap()];
        supervisor.listen("public", &"127.0.0.1:0".parse().unwrap(), routes).await.unwrap();
        (manager, Notifier::new(Some(path.into())), supervisor, directory)
    }

    fn keep_alives(manager: &UnixDatagram, within: Duration) -> usize {
        let until = Instant::now() + within;
        let mut buffer = [0; 64];
        let mut count = 0;
        while let Some(left) =
            until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        {
            manager.set_read_timeout(Some(left)).unwrap();
            if let Ok(length) = manager.recv(&mut buffer) {
                assert_eq!(&buffer[..length], b"WATCHDOG=1\n");
                count += 1;
            }
        }
        count
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn keep_alives_are_sent_until_a_part_hangs_and_again_once_it_moves() {
        let (manager, notifier, supervisor, _directory) = scene().await;
        let expected = Duration::from_millis(800);
        let _watchdog = Watchdog::start_with(&supervisor, expected, notifier);
        let alive = keep_alives(&manager, 3 * expected);
        assert!(alive >= 5, "{alive} in three timeouts");

        // The only worker hangs, and everything with it.
        let (release, released) = mpsc::channel::<()>();
        tokio::spawn(async move {
            let _ = released.recv();
        });
        // What was due before the hang counted as one.
        keep_alives(&manager, expected);
        assert_eq!(keep_alives(&manager, 2 * expected), 0);
        drop(release);
        assert!(keep_alives(&manager, 2 * expected) >= 2);
    }

    #[tokio::test]
    async fn a_supervisor_that_has_ended_proves_nothing_and_stopped_listeners_are_not_missed() {
        let (_manager, _notifier, supervisor, _directory) = scene().await;
        let liveness = Mutex::new(Liveness::new(Duration::from_secs(16), now()));
        let pause = Duration::from_millis(10);
        let _ = timeout(Duration::from_millis(100), ask(&supervisor, &liveness, pause)).await;
        assert!(liveness.lock().poll(now()).keep_alive);
        supervisor.shutdown(Default::default()).await;
        let _ = timeout(Duration::from_millis(100), ask(&supervisor, &liveness, pause)).await;
        let later = now() + Duration::from_secs(9);
        liveness.lock().prove(RUNTIME, later);
        let hung = liveness.lock().poll(later).hung;
        let names: Vec<&str> = hung.iter().map(|(part, _)| part.as_str()).collect();
        assert_eq!(names, [SUPERVISOR], "listeners that were stopped are not missed");
    }
}
