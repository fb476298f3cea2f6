//! A daemon with a configuration file that tests change.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::daemon::PROGRAM;
use crate::support::SOON;
use crate::support::daemon::{Daemon, Refusal};
use crate::support::http::{Answer, exchange, upgrade_request};

/// What every file begins with.
const START: &str = "[[listeners]]\nname = \"public\"\nlisten = \"127.0.0.1:0\"\n\
    [[routes]]\nname = \"echo\"\npath = \"/echo\"\nbackend.kind = \"echo\"\n";

pub(super) struct Stage {
    pub(super) daemon: Daemon,
    directory: tempfile::TempDir,
}

/// A way to ask the control API.
pub(super) struct Asking<'a> {
    stage: &'a Stage,
    headers: String,
}

impl Stage {
    /// Starts the daemon with a file that has a listener and the route `/echo`, and this behind it.
    pub(super) async fn start(more: &str) -> Self {
        Self::start_with(&format!("{START}{more}")).await
    }

    /// Starts the daemon with this file.
    pub(super) async fn start_with(file: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lastword.toml");
        std::fs::write(&path, file).unwrap();
        let daemon = Daemon::start_with(PROGRAM, &arguments(&path)).await;
        Self { daemon, directory }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn file(&self) -> PathBuf {
        self.path("lastword.toml")
    }

    pub(super) fn arguments(&self) -> Vec<String> {
        arguments(&self.file()).map(str::to_owned).to_vec()
    }

    /// Changes what stands behind the listener and the route `/echo`.
    pub(super) fn write(&self, more: &str) {
        self.write_whole(&format!("{START}{more}"));
    }

    pub(super) fn write_whole(&self, file: &str) {
        std::fs::write(self.file(), file).unwrap();
    }

    pub(super) fn listener(&self) -> SocketAddr {
        self.daemon.listener()
    }

    pub(super) fn with(&self, headers: String) -> Asking<'_> {
        Asking { stage: self, headers }
    }

    pub(super) async fn get(&self, target: &str) -> Answered {
        self.with(String::new()).get(target).await
    }

    pub(super) async fn post(&self, target: &str) -> Answered {
        self.with(String::new()).post(target).await
    }

    /// Changes the file as [`Stage::write`] does, and asks for a reload.
    pub(super) async fn reload_with(&self, more: &str) -> Answered {
        self.write(more);
        self.post("/v1/reload").await
    }

    /// Does the same with the whole file.
    pub(super) async fn reload_whole(&self, file: &str) -> Answered {
        self.write_whole(file);
        self.post("/v1/reload").await
    }

    /// Runs a client command.
    pub(super) async fn cli(&self, arguments: &[&str]) -> Refusal {
        let control = format!("http://{}", self.daemon.control());
        let mut command = Command::new(PROGRAM);
        command.args(arguments).args(["--control", &control]).kill_on_drop(true);
        command.env_remove("LASTWORD_TOKEN");
        let output = timeout(SOON, command.output()).await.expect("awaited the command").unwrap();
        Refusal {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Waits until so many reloads have succeeded and so many have failed.
    pub(super) async fn until_reloads(&self, succeeded: u64, failed: u64) {
        let deadline = tokio::time::Instant::now() + SOON;
        let wanted = [
            format!("\nlastword_reload_total {succeeded}\n"),
            format!("\nlastword_reload_failed_total {failed}\n"),
        ];
        loop {
            let metrics = self.daemon.metrics().await;
            if wanted.iter().all(|line| metrics.contains(line)) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "awaited {wanted:?}: {metrics}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Waits until the daemon has accepted a client that connects to this address and sends nothing yet.
    pub(super) async fn until_arrived(&self, address: SocketAddr) {
        // What is accepted later was accepted behind it.
        assert_eq!(refused(address, "/nowhere").await, 404);
    }

    /// Waits until an application of the first relay route is as a test wants it.
    pub(super) async fn until_backend(&self, number: usize, fits: impl Fn(&Value) -> bool) {
        let deadline = tokio::time::Instant::now() + SOON;
        loop {
            let shown = self.get("/v1/backends").await.expect(200);
            if fits(&shown["backends"][number]) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "in vain: {shown}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Waits until so many dialers are ready.
    pub(super) async fn until_ready(&self, count: usize) {
        let deadline = tokio::time::Instant::now() + SOON;
        loop {
            let shown = self.get("/v1/dialers").await.expect(200);
            let ready = |dialer: &&Value| dialer["state"] == "ready" && dialer["rotating"] == false;
            if shown["dialers"].as_array().unwrap().iter().filter(ready).count() == count {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "awaited {count} in vain: {shown}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// The address of a listener that a reload has added for the nth time.
    pub(super) async fn added(&self, name: &str, times: usize) -> SocketAddr {
        let deadline = tokio::time::Instant::now() + SOON;
        loop {
            let mut events = self.daemon.events("the listener accepts");
            events.retain(|event| event["listener"] == name);
            if events.len() >= times {
                return events[times - 1]["address"].as_str().unwrap().parse().unwrap();
            }
            assert!(tokio::time::Instant::now() < deadline, "in vain: {events:?}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

/// An answer of the control API.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    body: String,
}

impl Answered {
    /// The JSON of an answer that has to have this status.
    #[track_caller]
    pub(super) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Asking<'_> {
    pub(super) async fn get(&self, target: &str) -> Answered {
        self.ask("GET", target).await
    }

    pub(super) async fn post(&self, target: &str) -> Answered {
        self.ask("POST", target).await
    }

    async fn ask(&self, method: &str, target: &str) -> Answered {
        let control = self.stage.daemon.control();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {control}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: 0\r\n{}\r\n",
            self.headers
        );
        let Answer { head, body } = exchange(control, request, 3 * SOON).await;
        Answered { status: head.status(), body }
    }
}

/// The status with which an opening handshake is refused.
pub(super) async fn refused(address: SocketAddr, target: &str) -> u16 {
    let request = upgrade_request(&address.to_string(), target, "");
    exchange(address, request, SOON).await.head.status()
}

pub(super) fn arguments(file: &Path) -> [&str; 5] {
    ["serve", "--config", file.to_str().unwrap(), "--set", "log.format=\"json\""]
}
