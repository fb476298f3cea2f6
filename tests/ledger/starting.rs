//! Ledgers that a daemon must not use, and what it says.

use super::ledger_file::{LedgerFile, come_and_go, exists, until};
use crate::support::SOON;
use crate::support::daemon::{Daemon, command};

fn arguments(ledger: &LedgerFile) -> Vec<String> {
    ["serve", "--set", "listeners[0].listen=\"127.0.0.1:0\"", "--set", &ledger.setting()]
        .map(str::to_owned)
        .to_vec()
}

async fn refused(ledger: &LedgerFile) -> (Option<i32>, String) {
    let arguments = arguments(ledger);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let refusal = Daemon::refused(super::PROGRAM, &arguments).await;
    (refusal.code, refusal.stderr)
}

#[tokio::test]
async fn a_second_daemon_is_kept_out() {
    let ledger = LedgerFile::new();
    let first = ledger.daemon(&[]).await;
    let (code, said) = refused(&ledger).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("ledger.path: ") && said.contains("ledger.db.lock"), "{said}");
    come_and_go(first.listener(), 1).await;
}

#[tokio::test]
async fn a_newer_ledger_is_not_touched() {
    let ledger = LedgerFile::new();
    let mut daemon = ledger.daemon(&[]).await;
    daemon.signal("TERM").await;
    daemon.await_exit(SOON).await;
    ledger.read().pragma_update(None, "user_version", 9).unwrap();
    let before = std::fs::read(&ledger.path).unwrap();
    let (code, said) = refused(&ledger).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("schema version 9") && said.contains("supports only 4"), "{said}");
    assert_eq!(std::fs::read(&ledger.path).unwrap(), before);
}

#[tokio::test]
async fn a_damaged_ledger_is_left_alone_until_it_is_moved() {
    let ledger = LedgerFile::new();
    std::fs::write(&ledger.path, "no ledger at all ".repeat(1000)).unwrap();
    let daemon = ledger.daemon(&[]).await;
    daemon.await_line(|line| line.contains("move it away"), SOON).await;
    come_and_go(daemon.listener(), 1).await;
    let away = ledger.path.with_extension("away");
    std::fs::rename(&ledger.path, &away).unwrap();
    daemon.await_line(|line| line.contains("are stored again"), 2 * SOON).await;
    come_and_go(daemon.listener(), 1).await;
    until("it is in the new ledger", || ledger.kinds().len() == 1).await;
    assert!(std::fs::read(away).unwrap().starts_with(b"no ledger at all "));
}

#[tokio::test]
async fn without_a_place_for_it_the_key_is_named() {
    let mut without = command(super::PROGRAM, &["serve"]);
    without.env_remove("XDG_STATE_HOME").env_remove("HOME");
    // Every daemon of a test has a state directory; an empty path unsets it.
    let refusal = Daemon::refused_with_state(without, "").await;
    assert_eq!(refusal.code, Some(2), "{}", refusal.stderr);
    assert!(refusal.stderr.contains("ledger.path"), "{}", refusal.stderr);
}

#[tokio::test]
async fn without_a_ledger_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = LedgerFile::at(folder.path().join("ledger.db"));
    let daemon = Daemon::start(super::PROGRAM, &["ledger.path=\"\""]).await;
    come_and_go(daemon.listener(), 3).await;
    daemon.await_endings(3, |ending| ending["kind"] == "clean", SOON).await;
    assert!(!exists(&ledger.path));
    assert!(!exists(&daemon.state().join("ledger.db")));
}

#[tokio::test]
async fn the_ledger_is_in_the_state_directory() {
    let daemon = Daemon::start(super::PROGRAM, &[]).await;
    let ledger = LedgerFile::at(daemon.state().join("ledger.db"));
    come_and_go(daemon.listener(), 1).await;
    until("it is stored", || ledger.kinds().len() == 1).await;
}
