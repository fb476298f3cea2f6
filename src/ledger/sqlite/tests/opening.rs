//! Files that cannot be used at start.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn failing(ledger: &Sqlite) -> String {
    match ledger.health() {
        Health::Failing { problem, .. } => problem,
        Health::Good => panic!("it is well"),
    }
}

#[test]
fn a_directory_is_made_and_others_read_nothing() {
    let mut bench = Bench::new();
    bench.options.path = bench.folder.path().join("a/b/ledger.db");
    let _ledger = bench.open();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(bench.path()) & 0o137, 0, "at most rw-r-----");
    assert_eq!(mode(bench.path().parent().unwrap()) & 0o027, 0, "at most rwxr-x---");
}

#[test]
fn a_second_process_is_kept_out() {
    let bench = Bench::new();
    let first = bench.open();
    let error = Sqlite::open(bench.options.clone()).unwrap_err();
    let OpenError::Locked { lock } = &error else { panic!("{error}") };
    assert!(error.to_string().contains("ledger.db.lock"), "{error}");
    assert!(lock.exists());
    first.close();
    drop(first);
    until("the lock is free", || Sqlite::open(bench.options.clone()).is_ok());
}

#[test]
fn a_newer_file_is_not_touched() {
    let bench = Bench::new();
    bench.open().close();
    bench.look().pragma_update(None, "user_version", 7).unwrap();
    let before = std::fs::read(bench.path()).unwrap();
    for policy in [FailurePolicy::Serve, FailurePolicy::Refuse] {
        let options = SqliteOptions { on_failure: policy, ..bench.options.clone() };
        let error = Sqlite::open(options).unwrap_err();
        assert!(matches!(error, OpenError::Newer { found: 7, known: 4, .. }), "{error}");
    }
    assert_eq!(std::fs::read(bench.path()).unwrap(), before);
}

/// Opens an unusable file under both policies and checks that it is left unchanged; `mend` makes
/// it usable.
fn unusable(bench: &Bench, mend: impl FnOnce()) {
    let before = std::fs::read(bench.path()).ok();
    let refuse = SqliteOptions { on_failure: FailurePolicy::Refuse, ..bench.options.clone() };
    let error = Sqlite::open(refuse).unwrap_err();
    assert!(matches!(error, OpenError::Unusable(_)), "{error}");
    let ledger = bench.open();
    assert!(failing(&ledger).contains(bench.path().to_str().unwrap()));
    let id = ConnectionId::new();
    assert_eq!(bench.store(&ledger, vec![opened(id)]), [Record::Failed]);
    assert!(ledger.ending(ConnectionName::Id(id)).is_err());
    assert_eq!(std::fs::read(bench.path()).ok(), before, "it is left as it is");
    mend();
    until("it is well", || ledger.health() == Health::Good);
    assert!(matches!(bench.store(&ledger, vec![clean(id)])[..], [Record::Durable(_)]));
    assert!(ledger.ending(ConnectionName::Id(id)).unwrap().is_some());
}

#[test]
fn a_damaged_file_is_kept_and_a_new_one_created_once_it_is_moved() {
    let bench = Bench::new();
    std::fs::write(bench.path(), "this is no database, but long enough to look at".repeat(100))
        .unwrap();
    let away = bench.folder.path().join("away");
    unusable(&bench, || std::fs::rename(bench.path(), &away).unwrap());
}

#[test]
fn another_programs_database_is_kept() {
    let bench = Bench::new();
    bench.look().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let away = bench.folder.path().join("away");
    unusable(&bench, || std::fs::rename(bench.path(), &away).unwrap());
}

#[test]
fn a_path_below_a_file_is_no_directory() {
    let mut bench = Bench::new();
    let file = bench.folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    bench.options.path = file.join("ledger.db");
    unusable(&bench, || std::fs::remove_file(&file).unwrap());
}

#[test]
fn damage_found_on_the_way_is_a_failure_not_a_crash() {
    let bench = Bench::new();
    let ledger = bench.open();
    bench.store(&ledger, (0..2000).map(|_| clean(ConnectionId::new())).collect());
    ledger.close();
    // Everything behind the first page.
    let mut bytes = std::fs::read(bench.path()).unwrap();
    bytes[4096..].fill(0xa5);
    std::fs::write(bench.path(), &bytes).unwrap();
    let damaged = bench.open();
    assert!(failing(&damaged).contains("move it away"), "{}", failing(&damaged));
    assert_eq!(bench.store(&damaged, vec![clean(ConnectionId::new())]), [Record::Failed]);
    assert_eq!(std::fs::read(bench.path()).unwrap(), bytes);
}
