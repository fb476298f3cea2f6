//! A daemon whose resident memory is watched while it is attacked, beside a bystander.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::account::{Account, Stored};
use super::bystander::{Bystander, Phase, p99};
use super::cgroup::Cgroup;
use super::{MIB, PROGRAM, is_long, size};
use crate::support::SOON;
use crate::support::daemon::{Daemon, arguments, command};

/// What the daemon takes beside `limits.memory`: its code, threads and read buffers, records on
/// their way to ledger and log, and what its heap cannot give back amid an attack.
const BESIDE: u64 = 64 * MIB;

/// What each connection or attempt takes beside that, in bytes; a build without optimisation needs
/// more.
const EACH: u64 = if cfg!(debug_assertions) { 24 * 1024 } else { 14 * 1024 };

/// How much more than before may be left, and when. Caches of the ledger and holes in the heap stay, and do
/// not grow from attack to attack. What the kernel has of a flood is read behind it.
const LEFT: u64 = if cfg!(debug_assertions) { 24 * MIB } else { 16 * MIB };
const BACK_WITHIN: Duration = Duration::from_secs(40);

/// When the memory behind the attack is read.
const BEHIND: Duration = Duration::from_secs(5);

/// How long the bystander may wait for an echo.
const PATIENCE: Duration = Duration::from_secs(4);

/// The cgroup in which nothing may end the daemon, where cgroups may be made.
const CGROUP: u64 = 256 * MIB;

/// How a daemon is started for an attack.
pub(super) struct Setup {
    /// `limits.memory`; 0 leaves it as shipped, at 60 % of the cgroup.
    pub(super) memory: u64,
    /// Arguments of `--set` beside those of every attack.
    pub(super) settings: Vec<String>,
    /// Shell commands that run in the daemon's process before the daemon does.
    pub(super) prelude: String,
    /// More than [`BESIDE`], in bytes: where something else than peers is what is slow.
    pub(super) beside: u64,
    pub(super) patience: Duration,
    /// Whether all that ended is in the ledger and in the log when the daemon has stopped.
    pub(super) all_is_kept: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            memory: 32 * MIB,
            settings: Vec::new(),
            prelude: String::new(),
            beside: BESIDE,
            patience: PATIENCE,
            all_is_kept: true,
        }
    }
}

impl Setup {
    pub(super) fn with(settings: &[&str]) -> Self {
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        Self { settings, ..Self::default() }
    }
}

pub(super) struct Stage {
    pub(super) daemon: Daemon,
    setup: Setup,
    memory: u64,
    cgroup: Result<Cgroup, String>,
}

impl Stage {
    pub(super) async fn start(setup: Setup) -> Self {
        let cgroup = Cgroup::make(CGROUP);
        let procs = cgroup.as_ref().map(Cgroup::procs).unwrap_or_default();
        let script = r#"[ -z "$1" ] || echo $$ >"$1"; p=$2; shift 2"#;
        let script = format!("{script}\n{}\nexec \"$p\" \"$@\"", setup.prelude);
        let memory = format!("limits.memory={}", setup.memory);
        let mut settings = vec![
            "limits.handshakes_per_second=0",
            // The bystander expects nothing but echoes.
            r#"keepalive.ping_interval="0s""#,
            // Not every client here answers a Close.
            size(r#"drain.within="200ms""#, r#"drain.within="2s""#),
        ];
        if setup.memory > 0 {
            settings.push(&memory);
        }
        settings.extend(setup.settings.iter().map(String::as_str));
        let shell = vec!["-c", &script, "sh", &procs, PROGRAM];
        let arguments = [shell, arguments(&settings)].concat();
        let daemon = Daemon::start_command(command("sh", &arguments)).await;
        let memory = if setup.memory > 0 { setup.memory } else { CGROUP / 100 * 60 };
        Self { daemon, setup, memory, cgroup }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.daemon.listener()
    }

    /// What the daemon has mapped, whether or not it is resident.
    pub(super) fn address_space(&self) -> u64 {
        status(self.daemon.pid(), "VmSize:").expect("the daemon runs")
    }

    pub(super) fn ledger(&self) -> PathBuf {
        self.daemon.state().join("ledger.db")
    }

    /// Attacks it by so many clients and holds it to its memory, while the attack lasts and behind
    /// it. The attack returns what was tried.
    pub(super) async fn under(
        self,
        attack: &str,
        clients: u64,
        run: impl AsyncFnOnce(&Daemon) -> String,
    ) -> Account {
        let watch = self.watch(attack).await;
        watch.without(tokio::time::sleep(size(Duration::from_millis(200), SOON))).await;
        watch.during(clients, run).await
    }

    pub(super) async fn watch(self, attack: &str) -> Watch {
        let bystander = Bystander::at(self.address());
        Watch { stage: self, attack: attack.to_owned(), bystander }
    }
}

/// An attack with its bystander.
pub(super) struct Watch {
    pub(super) stage: Stage,
    attack: String,
    bystander: Bystander,
}

impl Watch {
    /// Measures the bystander's echoes while something else than the attack goes on.
    pub(super) async fn without<T>(&self, beside: impl Future<Output = T>) -> T {
        self.bystander.enter(Phase::Without);
        let done = beside.await;
        self.bystander.enter(Phase::Nothing);
        done
    }

    /// Attacks, prints the row of the table and stops the daemon; panics if the daemon broke a promise.
    pub(super) async fn during(
        self,
        clients: u64,
        run: impl AsyncFnOnce(&Daemon) -> String,
    ) -> Account {
        let Self { stage, attack, bystander } = self;
        // The cgroup is dropped last: it can be removed only when the daemon is gone.
        let Stage { cgroup, mut daemon, setup, memory } = stage;
        let pid = daemon.pid();
        let before = resident(pid).expect("the daemon runs");
        forget_the_peak(pid);
        bystander.enter(Phase::During);
        let tried = run(&daemon).await;
        bystander.enter(Phase::Nothing);
        let worst = peak(pid).unwrap_or_else(|| panic!("{attack}: the daemon is gone"));

        let over = Instant::now();
        if is_long() {
            tokio::time::sleep(BEHIND).await;
        }
        let after = resident(pid).expect("the daemon runs");
        let mut left = after;
        // What waits for a log that hangs is kept.
        let kept = before + LEFT + setup.beside - BESIDE;
        while left > kept && over.elapsed() < BACK_WITHIN {
            tokio::time::sleep(Duration::from_millis(250)).await;
            left = resident(pid).expect("the daemon runs");
        }
        let back = over.elapsed();
        let account = Account::settled(&daemon).await;
        let noticed = bystander.leave();
        let slowest = noticed.during.last().copied().unwrap_or_default();
        let (during, without) = (p99(&noticed.during), p99(&noticed.without));
        println!(
            "| {attack} | {tried} | {:.1}, {:.1}, {:.1} | {:.1} ({:.1}), {:.0} | {} |",
            mib(before),
            mib(worst),
            mib(after),
            ms(during),
            ms(without),
            ms(slowest),
            account.words(),
        );
        println!(
            "  limits.memory {:.0} MiB; {:.1} MiB {:.1} s after; {} echoes during the attack; {}",
            mib(memory),
            mib(left),
            back.as_secs_f64(),
            noticed.during.len(),
            match &cgroup {
                Ok(cgroup) => format!("in a cgroup of {:.0} MiB", mib(cgroup.limit())),
                Err(why) => format!("in no cgroup: {why}"),
            },
        );
        let allowed = memory + setup.beside + clients * EACH;
        assert!(worst <= allowed, "{attack}: {worst} bytes at worst, {allowed} allowed");
        assert!(left <= kept, "{attack}: {before} bytes before, {left} after {back:?}");
        assert!(slowest < setup.patience, "{attack}: an echo took {slowest:?}");
        account.is_true(&attack);

        let ledger = daemon.state().join("ledger.db");
        daemon.signal("TERM").await;
        assert_eq!(daemon.await_exit(PATIENCE * 3).await.code(), Some(0));
        if setup.all_is_kept {
            let last = daemon.events("the daemon stopped").remove(0);
            assert_eq!(last["opened"], last["ended"], "{attack}: {last}");
            let stored = Stored::read(&ledger);
            assert_eq!(Some(stored.endings), last["ended"].as_u64(), "{attack}: {stored:?}");
            let attempts = stored.attempts + stored.counted;
            assert_eq!(attempts, account.failed(), "{attack}: {stored:?}, {account:?}");
        }
        account
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
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
