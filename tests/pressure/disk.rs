//! A ledger whose disk is full, read-only, gone or hung while connections come and go.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tokio::time::Instant;

use super::account::thousands;
use super::clients::come_and_go;
use super::stage::{Setup, Stage};
use super::{MIB, duration, size};
use crate::support::daemon::Daemon;
use crate::support::volume::Volume;
use crate::support::{SOON, skip};

/// What memory may wait for the disk (`ledger.queue_bytes`), beside what is always allowed.
const QUEUE: u64 = 16 * MIB;

/// Clients come and go until the time is over; returns how many did.
async fn traffic(to: SocketAddr, lasts: Duration) -> u64 {
    let until = Instant::now() + lasts;
    let comers = (0..16).map(|comer| async move {
        let mut count = 0;
        while Instant::now() < until {
            count += u64::from(come_and_go(to, comer).await.is_some());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        count
    });
    futures_util::future::join_all(comers).await.into_iter().sum()
}

fn setup(ledger: &Path) -> Setup {
    let path = format!("ledger.path=\"{}\"", ledger.display());
    let settings = [&*path, "ledger.stall_timeout=\"300ms\"", "ledger.queue_bytes=\"16MiB\""];
    let usual = Setup::with(&settings);
    Setup { beside: usual.beside + QUEUE, all_is_kept: false, ..usual }
}

fn events(daemon: &Daemon) -> Vec<Value> {
    daemon.log().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn is_lost(event: &Value) -> bool {
    event["event"] == "ended" && event["recorded"] == false
}

/// Breaks the disk amid traffic, mends it, and checks that each ending is in the ledger or whole in
/// the log.
async fn faulty(
    what: &str,
    stage: Stage,
    ledger: &Path,
    break_it: impl FnOnce(),
    mend_it: impl FnOnce(),
) {
    let attack = format!("the ledger's disk {what}");
    let (mut ids, mut lost) = (HashSet::new(), HashSet::new());
    let run = async |daemon: &Daemon| {
        let to = daemon.listener();
        break_it();
        let mut count = traffic(to, duration()).await;
        let deadline = Instant::now() + 4 * SOON;
        while !events(daemon).iter().any(is_lost) {
            assert!(Instant::now() < deadline, "{attack}: not noticed");
            count += traffic(to, Duration::from_millis(200)).await;
        }
        mend_it();
        let mended = |line: &str| line.contains("are stored again");
        daemon.await_line(mended, 4 * SOON).await;
        let more = traffic(to, size(duration() / 4, SOON)).await;
        let all = (count + more) as usize;
        let ended = |event: &Value| event["event"] == "ended";
        let deadline = Instant::now() + 4 * SOON;
        while events(daemon).into_iter().filter(ended).count() < all {
            assert!(Instant::now() < deadline, "{attack}: endings are missing");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for event in events(daemon).into_iter().filter(ended) {
            let id = event.get("id").or_else(|| event["ending"].get("id"));
            let id = id.and_then(Value::as_str).expect("an id").to_owned();
            assert!(ids.insert(id.clone()), "{id} ended twice");
            if is_lost(&event) {
                lost.insert(id);
            }
        }
        assert_eq!(ids.len(), all, "each has one ending");
        let (count, more) = (thousands(count), thousands(more));
        let lost = thousands(lost.len() as u64);
        format!(
            "{count} clients come and go meanwhile, and {more} afterwards; {lost} endings are only \
             in the log, the others in the ledger"
        )
    };
    stage.under(&attack, 16, run).await;
    let file = Connection::open_with_flags(ledger, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    let mut query = file.prepare("SELECT id FROM endings").unwrap();
    let stored: HashSet<String> =
        query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    for id in &ids {
        assert!(stored.contains(id) != lost.contains(id), "{id} has one ending");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full() {
    let volume = match Volume::mount("64m") {
        Ok(volume) => volume,
        Err(why) => return skip("the ledger's disk is full", &why),
    };
    let ledger = volume.path().join("ledger.db");
    let stage = Stage::start(setup(&ledger)).await;
    let filler = volume.path().join("filler");
    let mend = || std::fs::remove_file(filler).unwrap();
    faulty("is full", stage, &ledger, || drop(volume.fill()), mend).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_only() {
    let volume = match Volume::mount("64m") {
        Ok(volume) => volume,
        Err(why) => return skip("the ledger's disk is read-only", &why),
    };
    let ledger = volume.path().join("ledger.db");
    // Files that are open for writing keep it from becoming read-only: it is so from the start.
    volume.remount("ro");
    let stage = Stage::start(setup(&ledger)).await;
    faulty("is read-only", stage, &ledger, || {}, || volume.remount("rw")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gone() {
    let folder = tempfile::tempdir().unwrap();
    let (there, away) = (folder.path().join("disk"), folder.path().join("away"));
    std::fs::create_dir(&there).unwrap();
    let ledger = there.join("ledger.db");
    let stage = Stage::start(setup(&ledger)).await;
    let lose = || std::fs::rename(&there, &away).unwrap();
    faulty("is gone", stage, &ledger, lose, || std::fs::rename(&away, &there).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hung() {
    let volume = match Volume::mount_freezable(64 * MIB) {
        Ok(volume) => volume,
        Err(why) => return skip("the ledger's disk hangs", &why),
    };
    let ledger = volume.path().join("ledger.db");
    let stage = Stage::start(setup(&ledger)).await;
    faulty("hangs", stage, &ledger, || volume.freeze(), || volume.thaw()).await;
}
