//! A file that somebody replaces, overwrites or cuts off under a running daemon.

use super::*;

const GARBAGE: &[u8] = &[0xa5; 64 * 1024];

/// A ledger with endings that are still in its log, and a reader that has it open.
fn in_use(bench: &Bench) -> Arc<Sqlite> {
    let ledger = bench.open();
    let id = ConnectionId::new();
    bench.store(&ledger, (0..200).map(|_| clean(ConnectionId::new())).collect());
    bench.store(&ledger, vec![clean(id)]);
    assert!(ledger.ending(ConnectionName::Id(id)).unwrap().is_some());
    assert!(std::fs::metadata(bench.path().with_extension("db-wal")).unwrap().len() > 0);
    ledger
}

/// The file is not a ledger any more and is left as it is; once it is moved away, a new one is
/// created.
fn is_left_alone(bench: &Bench, ledger: &Sqlite) {
    until(
        "it is noticed",
        || matches!(ledger.health(), Health::Failing { problem, .. } if problem.contains("as it is")),
    );
    assert_eq!(bench.store(ledger, vec![clean(ConnectionId::new())]), [Record::Failed]);
    assert!(std::fs::read(bench.path()).unwrap() == GARBAGE, "it was written to");
    std::fs::rename(bench.path(), bench.folder.path().join("away")).unwrap();
    until("it is well again", || ledger.health() == Health::Good);
    let records = bench.store(ledger, vec![clean(ConnectionId::new())]);
    assert!(matches!(records[..], [Record::Durable(_)]));
    assert_eq!(bench.number("SELECT count(*) FROM endings"), 1, "nothing of the old log");
    ledger.close();
    assert!(std::fs::read(bench.folder.path().join("away")).unwrap() == GARBAGE);
}

#[test]
fn a_file_that_takes_its_name_is_left_alone() {
    let bench = Bench::new();
    let ledger = in_use(&bench);
    let other = bench.folder.path().join("other");
    std::fs::write(&other, GARBAGE).unwrap();
    std::fs::rename(&other, bench.path()).unwrap();
    is_left_alone(&bench, &ledger);
}

#[test]
fn what_is_written_over_it_is_left_alone() {
    let bench = Bench::new();
    let ledger = in_use(&bench);
    std::fs::write(bench.path(), GARBAGE).unwrap();
    is_left_alone(&bench, &ledger);
}

#[test]
fn what_is_written_over_it_is_left_alone_by_a_stop() {
    let bench = Bench::new();
    let ledger = in_use(&bench);
    std::fs::write(bench.path(), GARBAGE).unwrap();
    ledger.close();
    assert!(std::fs::read(bench.path()).unwrap() == GARBAGE, "it was written to");
}

#[test]
fn a_file_that_is_cut_off_is_noticed() {
    let bench = Bench::new();
    let ledger = in_use(&bench);
    ledger.close();
    drop(ledger);
    let ledger = in_use(&bench);
    let open = ConnectionId::new();
    let records = bench.store(&ledger, vec![opened(open)]);
    File::options().write(true).open(bench.path()).unwrap().set_len(0).unwrap();
    // An empty file is a new ledger.
    until("a new file is created", || {
        ledger.health() == Health::Good && std::fs::metadata(bench.path()).unwrap().len() > 0
    });
    assert_eq!(bench.texts("SELECT id FROM open_connections"), [open.to_string()]);
    let last = records[0].sequence().unwrap();
    assert!(ledger.after(last - 1, 10).unwrap().gap, "the new file lacks what was reported before");
    let records = bench.store(&ledger, vec![clean(open)]);
    assert!(records[0].sequence().unwrap() > last, "numbers go on");
}

#[test]
fn a_file_that_is_cut_off_in_part_is_left_as_it_is() {
    let bench = Bench::new();
    let ledger = in_use(&bench);
    ledger.close();
    drop(ledger);
    let ledger = in_use(&bench);
    let file = File::options().write(true).open(bench.path()).unwrap();
    let half = file.metadata().unwrap().len() / 2;
    file.set_len(half).unwrap();
    until(
        "it is noticed",
        || matches!(ledger.health(), Health::Failing { problem, .. } if problem.contains("as it is")),
    );
    assert_eq!(bench.store(&ledger, vec![clean(ConnectionId::new())]), [Record::Failed]);
    ledger.close();
    assert_eq!(std::fs::metadata(bench.path()).unwrap().len(), half);
}
