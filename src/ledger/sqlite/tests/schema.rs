//! Files of older versions.

use std::sync::atomic::AtomicBool;

use super::super::schema::{STEPS, migrate};
use super::*;

/// The schema of version 1 as released; never edit it, not even its whitespace.
const RELEASED_1: &str = include_str!("version_1.sql");

#[test]
fn what_was_released_is_not_edited() {
    assert_eq!(STEPS[0].trim(), RELEASED_1.trim());
}

#[test]
fn a_file_of_version_1_is_read_and_written() {
    let bench = Bench::new();
    let old = bench.look();
    old.pragma_update(None, "application_id", 0x6c73_7477).unwrap();
    old.execute_batch(RELEASED_1).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    old.execute_batch(
        "UPDATE ledger SET sequence = 8, alive_at = '2026-01-01T00:00:02.000Z', closed = 0;
         INSERT INTO open_connections VALUES (7, 42, '01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c17',
           '2026-01-01T00:00:00.000Z', '{\"id\":\"01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c17\"}');
         INSERT INTO endings VALUES (8, '01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c18',
           '2026-01-01T00:00:01.000Z', 'clean', 'none', 'peer', 1000, 'chat', NULL,
           '203.0.113.9:5', '/chat', NULL, '{\"kind\":\"clean\"}');",
    )
    .unwrap();
    drop(old);
    let mut bench = bench;
    bench.options.retention = Duration::from_secs(3650 * 24 * 3600);
    let (ledger, died) = bench.recover();
    assert_eq!(died, 1);
    let name = ConnectionName::Short(0x5b8f_0a6d_4c18);
    assert_eq!(ledger.ending(name).unwrap().unwrap().json, r#"{"kind":"clean"}"#);
    let replay = ledger.after(8, 10).unwrap();
    assert_eq!(replay.endings.len(), 1);
    assert!(replay.endings[0].json.contains("process_died"));
    let number = replay.endings[0].sequence;
    let records = bench.store(&ledger, vec![clean(ConnectionId::new())]);
    assert!(records[0].sequence().unwrap() > number);
}

#[test]
fn a_file_of_version_1_takes_revocations() {
    let bench = Bench::new();
    let old = bench.look();
    old.pragma_update(None, "application_id", 0x6c73_7477).unwrap();
    old.execute_batch(RELEASED_1).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    drop(old);
    let ledger = bench.open();
    assert_eq!(bench.number("PRAGMA user_version"), STEPS.len() as i64);
    assert_eq!(ledger.revocations(), Some(RecordedRevocations::default()));
}

#[test]
fn a_step_takes_a_file_to_the_next_version_once() {
    let bench = Bench::new();
    let mut file = bench.look();
    migrate(&mut file, STEPS).unwrap();
    let known = STEPS.len() as i64;
    let mut steps = STEPS.to_vec();
    steps.push("ALTER TABLE endings ADD COLUMN mood TEXT DEFAULT 'good'");
    for _ in 0..2 {
        migrate(&mut file, &steps).unwrap();
        assert_eq!(bench.number("PRAGMA user_version"), known + 1);
    }
    steps.push("CREATE TABLE half (x); SELECT nothing FROM nowhere");
    assert!(matches!(migrate(&mut file, &steps), Err(StoreError::Sqlite(_))));
    assert_eq!(bench.number("PRAGMA user_version"), known + 1);
    let halves = "SELECT count(*) FROM sqlite_schema WHERE name = 'half'";
    assert_eq!(bench.number(halves), 0, "a step is made whole or not at all");
    let newer = migrate(&mut file, STEPS);
    assert!(matches!(newer, Err(StoreError::Newer { found, known: k }) if found == k + 1));
}

/// A container may have no directory for temporary files.
#[test]
fn a_large_file_is_upgraded_without_temporary_files() {
    let bench = Bench::new();
    let mut file = bench.look();
    migrate(&mut file, &STEPS[..3]).unwrap();
    file.execute_batch(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 100000)
         INSERT INTO endings SELECT n, n, printf('2026-01-01T00:00:%d', n), 'clean', 'none', 'peer',
           1000, NULL, NULL, NULL, NULL, NULL, '{}', NULL, NULL FROM n",
    )
    .unwrap();
    let temporary = Arc::new(AtomicBool::new(false));
    let found = Arc::clone(&temporary);
    let look = move || {
        // SQLite prefers /var/tmp. The files of other tests are here as well, and those are in /tmp.
        let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let mut links = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        if links.any(|link| link.starts_with("/var/tmp")) {
            found.store(true, Ordering::Relaxed);
        }
        false
    };
    // With a small cache, it sorts 1 MiB at a time.
    file.pragma_update(None, "cache_size", -64).unwrap();
    file.progress_handler(20_000, Some(look)).unwrap();
    migrate(&mut file, STEPS).unwrap();
    assert!(!temporary.load(Ordering::Relaxed));
}
