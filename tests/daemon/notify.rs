//! Notifications to systemd, and the unit that lastword ships.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::net::UnixDatagram;
use tokio::time::timeout;

use super::PROGRAM;
use super::process::{echo, echo_over_unix};
use crate::support::daemon::{Daemon, arguments, command};
use crate::support::raw_peer::{End, RawPeer};
use crate::support::{SOON, skip};

/// A service manager that receives the notifications of one daemon.
struct Manager {
    socket: UnixDatagram,
    directory: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        Self { socket, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn start(&self, settings: &[&str]) -> tokio::process::Command {
        let mut command = command(PROGRAM, &arguments(settings));
        command.env("NOTIFY_SOCKET", self.path("notify"));
        command
    }

    /// The next assignment, of which each datagram holds some.
    async fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let length = timeout(SOON, self.socket.recv(&mut buffer)).await;
        let length = length.expect("awaited a word from the daemon").unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap().trim_end();
        assert!(!text.contains('\n'), "one at a time, so far: {text:?}");
        text.to_owned()
    }
}

fn extends(word: &str) {
    let micros = word.strip_prefix("EXTEND_TIMEOUT_USEC=").map(str::parse::<u64>);
    assert!(matches!(micros, Some(Ok(5_000_000..))), "{word}");
}

#[tokio::test]
async fn systemd_hears_of_ready_stopping_and_a_drain_that_lasts() {
    let manager = Manager::new();
    let mut daemon = Daemon::start_command(manager.start(&["drain.within=\"30s\""])).await;
    assert_eq!(manager.next().await, "READY=1");
    assert_eq!(manager.next().await, "STATUS=ready");
    let mut silent = RawPeer::connect(daemon.listener(), "/echo").await;
    let mut other = RawPeer::connect(daemon.listener(), "/echo").await;
    for peer in [&mut silent, &mut other] {
        // It counts as open a moment after its 101.
        echo(peer, "open").await;
    }

    daemon.signal("TERM").await;
    let mut word = manager.next().await;
    // Every 5 seconds until then it says how many are open.
    while word.ends_with(" open") {
        word = manager.next().await;
    }
    assert_eq!(word, "STOPPING=1");
    for peer in [&mut silent, &mut other] {
        assert_eq!(peer.expect_close(SOON).await.0, Some(1012));
    }
    assert_eq!(manager.next().await, "STATUS=draining: 2 connections left");
    extends(&manager.next().await);
    other.close(1012, "").await;
    assert_eq!(other.expect_end(SOON).await, End::Fin);
    drop(other);
    daemon.await_ending(|ending| ending["kind"] == "clean", SOON).await;
    // Every second for as long as it lasts.
    loop {
        let status = manager.next().await;
        extends(&manager.next().await);
        if status == "STATUS=draining: 1 connection left" {
            break;
        }
        assert_eq!(status, "STATUS=draining: 2 connections left");
    }
    silent.close(1012, "").await;
    assert_eq!(silent.expect_end(SOON).await, End::Fin);
    drop(silent);
    assert_eq!(daemon.await_exit(SOON).await.code(), Some(0));
}

#[tokio::test]
async fn ready_is_said_once_every_listener_accepts() {
    let manager = Manager::new();
    let (first, second) = (manager.path("a.sock"), manager.path("b.sock"));
    let listeners = format!(
        "listeners=[{{name=\"a\",listen=\"unix:{}\"}},{{name=\"b\",listen=\"unix:{}\"}}]",
        first.display(),
        second.display()
    );
    // A service manager waits for READY and does not read stdout.
    let mut command = manager.start(&[&listeners]);
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    assert_eq!(manager.next().await, "READY=1");
    for path in [&first, &second] {
        drop(echo_over_unix(path).await);
    }
    child.kill().await.unwrap();
}

#[tokio::test]
async fn keep_alives_come_while_it_lives_and_drains_and_only_if_they_are_meant_for_it() {
    let manager = Manager::new();
    let mut command = manager.start(&["drain.within=\"2s\""]);
    command.env("WATCHDOG_USEC", "800000").env_remove("WATCHDOG_PID");
    let mut daemon = Daemon::start_command(command).await;
    let _silent = RawPeer::connect(daemon.listener(), "/echo").await;
    let began = Instant::now();
    let mut said = Vec::new();
    while began.elapsed() < Duration::from_secs(3) {
        said.push(manager.next().await);
        if began.elapsed() > Duration::from_secs(1) && !said.contains(&"STOPPING=1".to_owned()) {
            daemon.signal("TERM").await;
            while said.last().unwrap() != "STOPPING=1" {
                said.push(manager.next().await);
            }
        }
    }
    let stopped = said.iter().position(|word| word == "STOPPING=1").unwrap();
    let alive = |words: &[String]| words.iter().filter(|word| *word == "WATCHDOG=1").count();
    assert!(alive(&said[..stopped]) >= 2 && alive(&said[stopped..]) >= 2, "{said:?}");
    assert_eq!(daemon.await_exit(SOON).await.code(), Some(0));

    let other = Manager::new();
    let mut command = other.start(&[]);
    command.env("WATCHDOG_USEC", "100000").env("WATCHDOG_PID", "1");
    let _daemon = Daemon::start_command(command).await;
    assert_eq!(
        (other.next().await.as_str(), other.next().await.as_str()),
        ("READY=1", "STATUS=ready")
    );
    let more = timeout(Duration::from_millis(500), other.socket.recv(&mut [0; 64])).await;
    assert!(more.is_err(), "the keep-alives are another process's");
}

#[tokio::test]
async fn without_a_manager_that_listens_nothing_is_amiss() {
    let manager = Manager::new();
    let mut command = manager.start(&[]);
    drop(manager);
    command.env("NOTIFY_SOCKET", "/nonexistent/notify");
    let mut daemon = Daemon::start_command(command).await;
    let warning = daemon.await_line(|line| line.contains("/nonexistent/notify"), SOON).await;
    assert!(warning.contains(r#""level":"WARN""#), "{warning}");
    daemon.signal("TERM").await;
    assert_eq!(daemon.await_exit(SOON).await.code(), Some(0));
    let warnings = daemon.log().iter().filter(|line| line.contains("notif")).count();
    assert_eq!(warnings, 1, "it is said once");
}

/// The keys of the unit by section; a key may be given more than once.
fn unit() -> HashMap<String, Vec<(String, String)>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/systemd/lastword.service");
    let text = std::fs::read_to_string(path).unwrap();
    let mut sections: HashMap<String, Vec<(String, String)>> = HashMap::new();
    let mut section = None;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = Some(name.to_owned());
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{line:?}"));
        let section = section.clone().unwrap_or_else(|| panic!("{line:?} is in no section"));
        sections.entry(section).or_default().push((key.to_owned(), value.to_owned()));
    }
    sections
}

#[test]
fn the_unit_fits_the_daemon() {
    let unit = unit();
    let service: HashMap<&str, &str> =
        unit["Service"].iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    for (key, value) in [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("WatchdogSec", "30s"),
        ("Restart", "on-failure"),
        ("RestartPreventExitStatus", "2"),
        ("StateDirectory", "lastword"),
        ("KillSignal", "SIGTERM"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
    ] {
        assert_eq!(service.get(key), Some(&value), "{key}");
    }
    assert!(service["ExecStart"].ends_with("/lastword serve"), "{}", service["ExecStart"]);
    // Longer than a drain with the defaults: drain.within, close.timeout and close.linger.
    let stop = humantime::parse_duration(service["TimeoutStopSec"]).unwrap();
    assert!(stop > Duration::from_secs(60 + 10 + 2), "{stop:?}");
    assert!(service["LimitNOFILE"].parse::<u64>().unwrap() >= 65_536);
    assert_eq!(unit["Install"], [("WantedBy".to_owned(), "multi-user.target".to_owned())]);
    assert!(unit["Unit"].iter().any(|(key, _)| key == "Description"));
    // NOTIFY_SOCKET is a Unix socket, and so may listeners be.
    assert!(service["RestrictAddressFamilies"].contains("AF_UNIX"));
}

/// Runs `systemd-analyze`.
fn analyze(arguments: &[&str]) -> std::io::Result<std::process::Output> {
    std::process::Command::new("systemd-analyze").args(arguments).output()
}

/// Checks that systemd is installed, in at least this version; else says why a test cannot run.
fn systemd(since: u32) -> Result<(), String> {
    let version = analyze(&["--version"])
        .map_err(|error| format!("systemd-analyze cannot be run: {error}"))?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let version: u32 = version.split_whitespace().nth(1).unwrap().parse().unwrap();
    match version < since {
        true => Err(format!("systemd {version} is older than {since}")),
        false => Ok(()),
    }
}

/// systemd knows every key of the units, with a drop-in of this name.
fn verify(drop_in: Option<&str>) {
    let folder = copy_of_units(drop_in);
    for unit in ["lastword.service", "lastword.socket"] {
        let unit = folder.path().join(unit).display().to_string();
        let verified = analyze(&["verify", &unit]).unwrap();
        // It exits with 0 on keys that it ignores, but it names them.
        let said = [verified.stdout, verified.stderr].concat();
        assert_eq!(String::from_utf8_lossy(&said), "", "{unit} with {drop_in:?}");
    }
}

/// Copies the units into a folder, with a program that is there, and drop-ins of this name.
fn copy_of_units(drop_in: Option<&str>) -> tempfile::TempDir {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd");
    let folder = tempfile::tempdir().unwrap();
    for unit in ["lastword.service", "lastword.socket"] {
        let text = std::fs::read_to_string(units.join(unit)).unwrap();
        std::fs::write(folder.path().join(unit), text.replace("/usr/bin/lastword", "/bin/true"))
            .unwrap();
    }
    if let Some(name) = drop_in {
        let below = folder.path().join("lastword.service.d");
        std::fs::create_dir(&below).unwrap();
        std::fs::copy(units.join("lastword.service.d").join(name), below.join(name)).unwrap();
    }
    folder
}

#[test]
fn systemd_knows_every_key_of_the_units_and_finds_them_hardened() {
    if let Err(why) = systemd(0) {
        return skip("the units", &why);
    }
    verify(None);
    verify(Some("credentials.conf"));
    let folder = copy_of_units(None);
    let unit = folder.path().join("lastword.service").display().to_string();
    let secured = analyze(&["security", "--offline=yes", "--threshold=15", &unit]).unwrap();
    let said = String::from_utf8_lossy(&secured.stdout);
    assert!(secured.status.success(), "the exposure is above 1.5:\n{said}");
}

#[test]
fn systemd_knows_every_key_of_the_drop_in_for_notify_reload() {
    if let Err(why) = systemd(253) {
        return skip("the drop-in notify-reload.conf", &why);
    }
    verify(Some("notify-reload.conf"));
}

#[tokio::test]
async fn sigusr1_logs_a_report() {
    let daemon = Daemon::start(PROGRAM, &[]).await;
    let mut peer = RawPeer::connect(daemon.listener(), "/echo").await;
    // It counts as open a moment after its 101.
    echo(&mut peer, "open").await;
    daemon.signal("USR1").await;
    for part in [
        "report: accepting; connections: 1 opened, 1 open",
        "report: inbound, echo: 1 open",
        "report: listeners: public",
        "report: ledger: good",
        "report: drain: none so far",
        "report: reload: none so far",
    ] {
        daemon.await_line(|line| line.contains(part), SOON).await;
    }
}
