//! Disks that are full, read-only or busy, under a daemon that goes on.

use std::collections::HashSet;

use serde_json::Value;

use super::ledger_file::{Client, LedgerFile, come_and_go, ids, until};
use crate::support::daemon::Daemon;
use crate::support::volume::Volume;
use crate::support::{SOON, skip};

fn is_lost(event: &Value) -> bool {
    event["event"] == "ended" && event["recorded"] == false
}

fn is_ended(event: &Value) -> bool {
    event["event"] == "ended"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_no_connection_and_no_ending() {
    let volume = match Volume::mount("3m") {
        Ok(volume) => volume,
        Err(why) => return skip("a full disk under the ledger", &why),
    };
    let ledger = LedgerFile::at(volume.path().join("ledger.db"));
    let mut daemon = ledger.daemon(&[]).await;
    let address = daemon.listener();
    let (mut stays, goes) =
        (Client::at(address).await.unwrap(), Client::at(address).await.unwrap());
    come_and_go(address, 20).await;
    let filler = volume.fill();
    for _ in 0..200 {
        come_and_go(address, 5).await;
        if !ids(&daemon, is_lost).is_empty() {
            break;
        }
    }
    assert!(!ids(&daemon, is_lost).is_empty(), "the disk is full");
    let said = daemon.await_line(|line| line.contains("the disk is full"), SOON).await;
    assert!(said.contains("WARN") && said.contains("ledger.db"), "{said}");
    stays.speak().await.unwrap();
    goes.leave().await.unwrap();
    // It opens while nothing can be stored, and dies with the process.
    let mut comes = Client::at(address).await.unwrap();
    comes.speak().await.unwrap();

    std::fs::remove_file(filler).unwrap();
    let said = daemon.await_line(|line| line.contains("are stored again"), 2 * SOON).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert!(said["lost"].as_u64().unwrap() > 0, "{said}");
    come_and_go(address, 10).await;
    until("those that are open have their rows", || {
        ledger.number("SELECT count(*) FROM open_connections") == 2
    })
    .await;
    daemon.signal("KILL").await;
    daemon.await_exit(SOON).await;
    let (ended, lost) = (ids(&daemon, is_ended), ids(&daemon, is_lost));

    let restarted = ledger.daemon(&[]).await;
    ledger.check_integrity();
    let stored: HashSet<String> = ledger.kinds().into_iter().map(|(id, _)| id).collect();
    for id in ended.iter().filter(|id| !stored.contains(*id)) {
        assert!(lost.contains(id), "{id} is in the ledger or whole in the log");
    }
    let died = ledger.number("SELECT count(*) FROM endings WHERE kind = 'process_died'");
    assert_eq!(died, 2, "those that were open, neither more nor fewer");
    drop(restarted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_is_waited_for_or_refused() {
    let volume = match Volume::mount("8m") {
        Ok(volume) => volume,
        Err(why) => return skip("a read-only disk under the ledger", &why),
    };
    let ledger = LedgerFile::at(volume.path().join("state/ledger.db"));
    volume.remount("ro");
    let (path, refuse) = (ledger.setting(), r#"ledger.on_failure="refuse""#);
    let arguments = ["serve", "--set", "listeners[0].listen=\"127.0.0.1:0\"", "--set", &path];
    let refusal =
        Daemon::refused(super::PROGRAM, &[&arguments[..], &["--set", refuse]].concat()).await;
    assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
    assert!(refusal.stderr.contains("ledger.path: ") && refusal.stderr.contains("writable"));

    let daemon = ledger.daemon(&[]).await;
    daemon.await_line(|line| line.contains("writable"), SOON).await;
    come_and_go(daemon.listener(), 3).await;
    until("they are in the log", || ids(&daemon, is_lost).len() == 3).await;
    volume.remount("rw");
    daemon.await_line(|line| line.contains("are stored again"), 2 * SOON).await;
    come_and_go(daemon.listener(), 3).await;
    until("they are in the ledger", || ledger.kinds().len() == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_connections_are_refused_while_endings_cannot_be_stored() {
    let ledger = LedgerFile::new();
    let settings = [r#"ledger.on_failure="refuse""#, r#"ledger.stall_timeout="300ms""#];
    let daemon = ledger.daemon(&settings).await;
    let address = daemon.listener();
    let (mut stays, goes) =
        (Client::at(address).await.unwrap(), Client::at(address).await.unwrap());
    let busy = ledger.read();
    busy.execute_batch("BEGIN IMMEDIATE").unwrap();
    goes.leave().await.unwrap();
    until("its ending is in the log", || ids(&daemon, is_lost).len() == 1).await;
    let Err(refused) = Client::at(address).await else { panic!("it came in") };
    assert!(refused.to_string().starts_with("HTTP/1.1 503 "), "{refused}");
    stays.speak().await.unwrap();
    busy.execute_batch("COMMIT").unwrap();
    daemon.await_line(|line| line.contains("are stored again"), 2 * SOON).await;
    come_and_go(address, 1).await;
    until("it is in the ledger", || ledger.kinds().len() == 1).await;
    assert_eq!(ledger.number("SELECT count(*) FROM open_connections"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_on_a_full_disk_leaves_one_ending_each() {
    const STAY: usize = 200;
    let volume = match Volume::mount("4m") {
        Ok(volume) => volume,
        Err(why) => return skip("a stop on a full disk", &why),
    };
    let ledger = LedgerFile::at(volume.path().join("ledger.db"));
    let mut daemon = ledger.daemon(&["drain.within=\"5s\""]).await;
    let address = daemon.listener();
    let mut clients = Vec::new();
    for _ in 0..STAY {
        clients.push(Client::at(address).await.unwrap());
    }
    until("they have their rows", || {
        ledger.number("SELECT count(*) FROM open_connections") == STAY as i64
    })
    .await;
    let filler = volume.fill();
    for _ in 0..400 {
        come_and_go(address, 5).await;
        if !ids(&daemon, is_lost).is_empty() {
            break;
        }
    }
    assert!(!ids(&daemon, is_lost).is_empty(), "the disk is full");
    // It is tried again every second, and some bytes fit each time.
    for _ in 0..7 {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        come_and_go(address, 10).await;
    }
    let again = daemon.log().iter().filter(|line| line.contains("are stored again")).count();
    assert!(again <= 1, "{again} times it was said that endings are stored again");
    for client in clients.drain(..STAY / 2) {
        client.leave().await.unwrap();
    }
    daemon.signal("TERM").await;
    for client in clients {
        drop(client);
    }
    daemon.await_exit(2 * SOON).await;
    let (ended, lost) = (ids(&daemon, is_ended), ids(&daemon, is_lost));
    std::fs::remove_file(filler).unwrap();

    let restarted = ledger.daemon(&[]).await;
    ledger.check_integrity();
    let kinds = ledger.kinds();
    let died = kinds.iter().filter(|(_, kind)| kind == "process_died").count();
    assert_eq!(died, 0, "all had their endings");
    let stored: HashSet<&String> = kinds.iter().map(|(id, _)| id).collect();
    assert_eq!(stored.len(), kinds.len());
    for id in &ended {
        assert!(stored.contains(id) != lost.contains(id), "{id} has one ending");
    }
    drop(restarted);
}
