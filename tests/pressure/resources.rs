//! A daemon without descriptors, and one whose log nobody reads.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::account::{Stored, thousands};
use super::clients::{come_and_go, connect, crowd};
use super::stage::{Setup, Stage};
use super::{MIB, duration, is_long, size};
use crate::support::daemon::Daemon;
use crate::support::{SOON, skip};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_descriptors() {
    let clients = size(200, 2000);
    let prelude = "ulimit -n 64".to_owned();
    let stage = Stage::start(Setup { prelude, ..Setup::default() }).await;
    let run = async |daemon: &Daemon| {
        let to = daemon.listener();
        crowd(clients, duration(), move |client| async move {
            let mut stream = connect(to, client).await?;
            stream.write_all(b"GET /echo HTTP/1.1\r\nHost: x\r\n").await.ok()?;
            Some(stream)
        })
        .await;
        let clients = thousands(clients as u64);
        format!("{clients} clients send half a request and stay; `ulimit -n 64`")
    };
    stage.under("descriptors exhausted", clients as u64, run).await;
}

/// What may wait for a log that is not read, and what is being written of it.
const LOG: u64 = 2 * 16 * MIB;

/// Has so many clients come and go; each has its Close answered.
async fn all_come_and_go(daemon: &Daemon, clients: usize) {
    let (to, mut comers) = (daemon.listener(), JoinSet::new());
    for comer in 0..32 {
        comers.spawn(async move {
            for _ in 0..clients / 32 {
                come_and_go(to, comer).await.expect("let in, and closed");
            }
        });
    }
    comers.join_all().await;
}

/// How many come and go: some 1.5 KB of log each, more than its queue holds.
fn comers() -> usize {
    size(320, 24_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stderr_that_nobody_reads() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("stderr");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Open at both ends, so that it neither blocks here nor breaks.
    let mut ours: File = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&pipe)
        .unwrap();
    let usual = Setup::default();
    let prelude = format!("exec 2>'{}'", pipe.display());
    let beside = usual.beside + LOG;
    let setup = Setup { prelude, beside, all_is_kept: false, ..usual };
    let stage = Stage::start(setup).await;
    let ledger = stage.ledger();
    let run = async |daemon: &Daemon| {
        all_come_and_go(daemon, comers()).await;
        are_stored(&ledger).await;
        // It is read at last, up to what is said of the lines that were lost.
        let (mut text, mut buffer) = (Vec::new(), vec![0; 65_536]);
        let until = Instant::now() + 2 * SOON;
        while Instant::now() < until && !is_reported(&text) {
            match ours.read(&mut buffer) {
                Ok(read) => text.extend_from_slice(&buffer[..read]),
                Err(_) if is_long() => tokio::time::sleep(Duration::from_millis(5)).await,
                // So few lines fit into the queue.
                Err(_) => break,
            }
        }
        assert!(is_reported(&text) || !is_long(), "lines were lost, and nothing says so");
        let count = thousands(comers() as u64);
        format!("{count} clients come and go while nobody reads it; all endings are in the ledger")
    };
    stage.under("stderr is a full pipe", 32, run).await;
}

/// No ending waits for the log.
async fn are_stored(ledger: &Path) {
    let until = Instant::now() + SOON;
    while Stored::read(ledger).endings < comers() as u64 {
        assert!(Instant::now() < until, "endings wait for the log: {:?}", Stored::read(ledger));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_reported(text: &[u8]) -> bool {
    let said = b"log lines are missing";
    text.windows(said.len()).any(|window| window == said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_hangs() {
    let folder = tempfile::tempdir().unwrap();
    // Bound, and never read.
    let _journald = UnixDatagram::bind(folder.path().join("socket")).unwrap();
    let mount = format!(
        "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
         mount --bind {} /run/systemd/journal",
        folder.path().display()
    );
    let may = Command::new("unshare").args(["-m", "sh", "-c", &mount]).output();
    if !may.as_ref().is_ok_and(|output| output.status.success()) {
        return skip("journald hangs", &format!("no mount namespace: {may:?}"));
    }
    let usual = Setup::with(&[r#"log.format="journald""#]);
    let prelude = format!(r#"exec unshare -m sh -c '{mount}; exec "$0" "$@"' "$p" "$@""#);
    let beside = usual.beside + LOG;
    let stage = Stage::start(Setup { prelude, beside, all_is_kept: false, ..usual }).await;
    let ledger = stage.ledger();
    let run = async |daemon: &Daemon| {
        all_come_and_go(daemon, comers()).await;
        are_stored(&ledger).await;
        let count = thousands(comers() as u64);
        format!("{count} clients come and go meanwhile; all endings are in the ledger")
    };
    stage.under("journald hangs", 32, run).await;
}
