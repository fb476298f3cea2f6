//! The daemon as a process before an application of raw bytes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::daemon::Daemon;
use crate::support::raw_peer::RawPeer;
use crate::support::{A_WHILE, SOON};

/// A daemon, and the place where the application behind it is reached.
pub struct Front {
    pub daemon: Daemon,
    pub application: TcpListener,
}

impl Front {
    /// Starts a daemon that relays every path; `backend` is more of the route's backend table.
    pub async fn open(settings: &[&str], backend: &str) -> Self {
        let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", application.local_addr().unwrap());
        let backend = format!(r#"routes[0].backend={{kind="relay",url="{url}"{backend}}}"#);
        let ours = [r#"routes[0].path="/*""#, &backend, r#"keepalive.ping_interval="0s""#];
        let settings: Vec<&str> = ours.into_iter().chain(settings.iter().copied()).collect();
        let daemon = Daemon::start(env!("CARGO_BIN_EXE_lastword"), &settings).await;
        Self { daemon, application }
    }

    pub fn address(&self) -> SocketAddr {
        self.daemon.listener()
    }

    /// Opens one connection through the daemon: the client's end, and the application's.
    pub async fn pair(&self, path: &str) -> (RawPeer, RawPeer) {
        tokio::join!(RawPeer::connect(self.address(), path), RawPeer::accept(&self.application))
    }

    /// Waits for both endings of a connection to this path: the client's leg, and the other.
    pub async fn legs(&self, path: &str) -> (Value, Value) {
        let mut legs = self.daemon.await_endings(2, |e| e["path"] == path, SOON).await;
        legs.sort_by_key(|leg| leg["direction"] == "outbound");
        let [client, application] = legs.try_into().unwrap();
        assert_eq!(client["direction"], "inbound");
        assert_eq!(application["direction"], "outbound");
        assert_eq!(client["relay_peer"], application["id"]);
        assert_eq!(application["relay_peer"], client["id"]);
        (client, application)
    }

    /// What the daemon has in memory, in KiB, and the most it had since this was last asked.
    pub fn memory(&self) -> (u64, u64) {
        let pid = self.daemon.pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let of = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        // See proc_pid_clear_refs(5): the peak becomes what there is now.
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
        (of("VmRSS:"), of("VmHWM:"))
    }
}

/// Asserts kind, cause and fault of a leg.
pub fn assert_leg(leg: &Value, due: (&str, &str, &str)) {
    let of = |name: &str| leg[name].as_str().unwrap_or_default();
    assert_eq!((of("kind"), of("cause"), of("fault")), due, "{leg}");
}

/// A client and its application that talk for as long as they are left alone.
pub struct Bystander {
    leave: oneshot::Sender<()>,
    task: JoinHandle<Vec<Duration>>,
}

impl Bystander {
    pub async fn at(front: &Front) -> Self {
        let (mut client, mut application) = front.pair("/bystander").await;
        let (leave, mut left) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut round_trips = Vec::new();
            while left.try_recv().is_err() {
                let began = Instant::now();
                client.text("you there?").await;
                application.expect_text("you there?").await;
                application.text("yes").await;
                client.expect_text("yes").await;
                round_trips.push(began.elapsed());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            round_trips
        });
        Self { leave, task }
    }

    /// Lets them go, and asserts that their messages went through at once all the while.
    pub async fn was_not_disturbed(self) {
        self.leave.send(()).expect("the bystander was disturbed");
        let mut round_trips = self.task.await.expect("the bystander was disturbed");
        round_trips.sort();
        let (count, median) = (round_trips.len(), round_trips[round_trips.len() / 2]);
        let slowest = round_trips[count - 1];
        assert!(count > 20 && median < A_WHILE / 3, "{count} round trips, {median:?} the median");
        assert!(slowest < Duration::from_secs(3), "{slowest:?} for one of {count}");
    }
}
