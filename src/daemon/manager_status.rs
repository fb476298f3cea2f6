//! What `systemctl status` says of the daemon: how many are open, and whether something is wrong.

use std::convert::Infallible;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::explanation::wording::count;
use crate::ledger::Health;
use crate::manager::Supervisor;
use crate::surfaces::systemd::Notifier;

/// How often the status is looked at; it is sent when it has changed.
const LOOK: Duration = Duration::from_secs(5);

/// How often more time is asked for while the daemon starts, and how much.
const EXTEND_EVERY: Duration = Duration::from_secs(5);
const EXTENSION: Duration = Duration::from_secs(30);

/// How many times more time is asked for: a start that takes longer than a quarter of an hour hangs.
const EXTENSIONS: usize = 180;

/// Keeps the status up to date, for as long as it is polled.
pub(super) async fn keep(notifier: &Notifier, supervisor: &Supervisor) -> Infallible {
    if !notifier.has_manager() {
        return std::future::pending().await;
    }
    let mut last = "ready".to_owned();
    loop {
        tokio::time::sleep(LOOK).await;
        let status = running(supervisor);
        if status != last {
            notifier.status(&status);
            last = status;
        }
    }
}

fn running(supervisor: &Supervisor) -> String {
    let open = count(supervisor.accounting().open, "connection");
    let plain = match supervisor.http().connections {
        0 => String::new(),
        clients => format!(", {}", count(clients, "plain HTTP client")),
    };
    let draining = if supervisor.is_draining() { ", refusing new ones" } else { "" };
    let ledger = match supervisor.ledger_health() {
        Health::Good => String::new(),
        Health::Failing { problem, .. } => format!("; {problem}"),
    };
    format!("{open} open{plain}{draining}{ledger}")
}

/// Says how many are left while the daemon drains.
pub(super) fn draining(supervisor: &Supervisor) -> String {
    let left = count(supervisor.accounting().open, "connection");
    match supervisor.http().connections {
        0 => format!("draining: {left} left"),
        clients => format!("draining: {left} left, and {}", count(clients, "plain HTTP client")),
    }
}

/// Asks for more time until it is dropped: a start that recovers a large ledger may take longer than
/// `TimeoutStartSec`.
pub(super) struct Starting {
    /// Its end ends the thread.
    _asking: mpsc::Sender<Infallible>,
}

impl Starting {
    pub(super) fn begin() -> Self {
        Self::with(Notifier::from_env(), EXTEND_EVERY)
    }

    fn with(notifier: Notifier, every: Duration) -> Self {
        let (asking, ended) = mpsc::channel();
        if !notifier.has_manager() {
            return Self { _asking: asking };
        }
        let ask = move || {
            for _ in 0..EXTENSIONS {
                if ended.recv_timeout(every) != Err(mpsc::RecvTimeoutError::Timeout) {
                    return;
                }
                notifier.status("starting: opening the ledger");
                notifier.extend_timeout(EXTENSION);
            }
        };
        // Without it the start has the time that the unit gives it.
        let _ = thread::Builder::new().name("starting".to_owned()).spawn(ask);
        Self { _asking: asking }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn more_time_is_asked_for_until_the_start_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let notifier = Notifier::new(Some(path.into()));
        let starting = Starting::with(notifier, Duration::from_millis(20));
        let mut buffer = [0; 128];
        let mut next = || {
            let length = manager.recv(&mut buffer)?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        for _ in 0..2 {
            assert_eq!(next().unwrap(), "STATUS=starting: opening the ledger\n");
            assert_eq!(next().unwrap(), "EXTEND_TIMEOUT_USEC=30000000\n");
        }
        drop(starting);
        manager.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        // At most the round that was under way.
        let late = std::iter::from_fn(|| next().ok()).count();
        assert!(late <= 2, "{late}");
    }

    #[tokio::test]
    async fn the_status_counts_what_is_open() {
        let supervisor = Supervisor::builder().start().await.unwrap();
        assert_eq!(running(&supervisor), "0 connections open");
        assert_eq!(draining(&supervisor), "draining: 0 connections left");
        supervisor.refuse_new();
        assert_eq!(running(&supervisor), "0 connections open, refusing new ones");
    }
}
