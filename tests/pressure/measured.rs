//! A daemon whose resident memory is watched while it is attacked, and a bystander.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::cgroup::Cgroup;
use crate::support::daemon::{Daemon, command};
use crate::support::raw_peer::RawPeer;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_lastword");

const MIB: u64 = 1 << 20;

/// What the daemon takes beside `limits.memory`: its code, threads and read buffers, records on
/// their way to ledger and log, and what its heap cannot give back amid an attack.
const BESIDE: u64 = 48 * MIB;

/// What each connection or attempt takes beside that, in bytes; a build without optimisation needs
/// more.
const EACH: u64 = if cfg!(debug_assertions) { 24 * 1024 } else { 14 * 1024 };

/// How much more than before may be left, and when.
const LEFT: u64 = 8 * MIB;
const BACK_WITHIN: Duration = Duration::from_secs(15);

/// How long the bystander may wait for an echo.
const PATIENCE: Duration = Duration::from_secs(4);

pub(super) struct Measured {
    daemon: Daemon,
    memory: u64,
    cgroup: Result<Cgroup, String>,
}

impl Measured {
    /// Starts a daemon with this `limits.memory`, in a cgroup of this size where one may be made.
    pub(super) async fn start(memory: u64, cgroup: u64) -> Self {
        let setting = format!("limits.memory={memory}");
        Self::start_in(cgroup, memory, &["--set", &setting]).await
    }

    /// Likewise, with the `limits.memory` that is shipped: 60 % of the cgroup.
    pub(super) async fn start_with_default_memory(cgroup: u64) -> Self {
        Self::start_in(cgroup, cgroup / 100 * 60, &[]).await
    }

    async fn start_in(cgroup: u64, memory: u64, more: &[&str]) -> Self {
        let cgroup = Cgroup::make(cgroup);
        let procs = cgroup.as_ref().map(Cgroup::procs).unwrap_or_default();
        let script = r#"[ -z "$1" ] || echo $$ >"$1"; p=$2; shift 2; exec "$p" "$@""#;
        let mut arguments = vec!["-c", script, "sh", &procs, PROGRAM, "serve"];
        for setting in [
            r#"listeners[0].listen="127.0.0.1:0""#,
            "limits.handshakes_per_second=0",
            r#"log.format="json""#,
            // The bystander expects nothing but echoes.
            r#"keepalive.ping_interval="0s""#,
        ] {
            arguments.extend(["--set", setting]);
        }
        arguments.extend(more);
        let daemon = Daemon::start_command(command("sh", &arguments)).await;
        Self { daemon, memory, cgroup }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.daemon.listener()
    }

    /// Attacks it, and holds it to its memory: while the attack lasts, and behind it.
    pub(super) async fn under(
        mut self,
        what: &str,
        clients: u64,
        attack: impl Future<Output = ()>,
    ) {
        let bystander = Bystander::at(self.address()).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let pid = self.daemon.pid();
        let before = resident(pid).expect("the daemon runs");
        forget_the_peak(pid);
        let began = Instant::now();
        attack.await;
        let lasted = began.elapsed();
        let worst = peak(pid).unwrap_or_else(|| panic!("{what}: the daemon is gone"));

        let over = Instant::now();
        let mut after = resident(pid).expect("the daemon runs");
        while after > before + LEFT && over.elapsed() < BACK_WITHIN {
            tokio::time::sleep(Duration::from_millis(250)).await;
            after = resident(pid).expect("the daemon runs");
        }
        let back = over.elapsed();
        let (echoes, slowest) = bystander.leave().await;
        let mib = |bytes: u64| bytes as f64 / MIB as f64;
        println!(
            "{what}: {:.1} MiB before, {:.1} MiB at worst, {:.1} MiB {:.1} s after; limits.memory \
             {:.0} MiB; {:.1} s; {echoes} echoes to a bystander, the slowest after {} ms; {}",
            mib(before),
            mib(worst),
            mib(after),
            back.as_secs_f64(),
            mib(self.memory),
            lasted.as_secs_f64(),
            slowest.as_millis(),
            match &self.cgroup {
                Ok(cgroup) => format!("in a cgroup of {:.0} MiB", mib(cgroup.limit())),
                Err(why) => format!("in no cgroup: {why}"),
            },
        );
        let allowed = self.memory + BESIDE + clients * EACH;
        assert!(worst <= allowed, "{what}: {worst} bytes at worst, {allowed} allowed");
        assert!(after <= before + LEFT, "{what}: {before} bytes before, {after} after {back:?}");
        assert!(slowest < PATIENCE, "{what}: an echo took {slowest:?}");
        self.daemon.signal("TERM").await;
        assert_eq!(self.daemon.await_exit(PATIENCE * 3).await.code(), Some(0));
    }
}

fn status(pid: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

fn resident(pid: u32) -> Option<u64> {
    status(pid, "VmRSS:")
}

fn peak(pid: u32) -> Option<u64> {
    status(pid, "VmHWM:")
}

fn forget_the_peak(pid: u32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("clear the peak");
}

/// A client that has small messages echoed all the while.
struct Bystander {
    leave: Arc<AtomicBool>,
    task: JoinHandle<(u64, Duration)>,
}

impl Bystander {
    async fn at(address: SocketAddr) -> Self {
        let mut peer = RawPeer::connect(address, "/echo").await;
        let leave = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&leave);
        let task = tokio::spawn(async move {
            let (mut count, mut slowest) = (0, Duration::ZERO);
            while !asked.load(Ordering::Relaxed) {
                let began = Instant::now();
                let text = format!("message {count}");
                peer.text(&text).await;
                assert_eq!(peer.read_frame(PATIENCE).await.payload, text.as_bytes());
                slowest = slowest.max(began.elapsed());
                count += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            (count, slowest)
        });
        Self { leave, task }
    }

    async fn leave(self) -> (u64, Duration) {
        self.leave.store(true, Ordering::Relaxed);
        self.task.await.expect("the bystander was disturbed")
    }
}
