//! What is removed, and that replays report the gap.

use super::*;

#[test]
fn the_oldest_give_way_to_size() {
    let mut bench = Bench::new();
    bench.options.max_size = ByteSize::mib(4);
    let ledger = bench.open();
    let mut last = 0;
    for _ in 0..6 {
        let records = bench.store(&ledger, (0..1500).map(|_| clean(ConnectionId::new())).collect());
        last = records.last().unwrap().sequence().unwrap();
    }
    let live = "SELECT ((SELECT page_count FROM pragma_page_count) \
                - (SELECT freelist_count FROM pragma_freelist_count)) * 4096";
    let bound = ByteSize::mib(4).0 as i64;
    until("it is within its bound", || bench.number(live) <= bound * 17 / 20);
    let left = bench.number("SELECT count(*) FROM endings");
    assert!((1000..4000).contains(&left), "{left}");
    assert_eq!(bench.number("SELECT max(sequence) FROM endings"), last as i64);
    let oldest = bench.number("SELECT min(sequence) FROM endings") as u64;
    assert_eq!(bench.number("SELECT removed FROM ledger") as u64, oldest - 1);
    assert!(ledger.after(oldest - 2, 10).unwrap().gap);
    assert!(!ledger.after(oldest - 1, 10).unwrap().gap);
}

#[test]
fn the_oldest_give_way_to_age() {
    let mut bench = Bench::new();
    bench.options.retention = Duration::from_secs(3600);
    bench.options.open_failed_per_second = 1;
    let ledger = bench.open();
    let long_ago = |ending: Ending| Ending {
        ended_at: SystemTime::now() - Duration::from_secs(7200),
        ..ending
    };
    let old = |kind: Kind| long_ago(ending(ConnectionId::new(), kind, origin("10.0.0.1:1")));
    let refused = Kind::OpenFailed(OpenFailure::NoRoute);
    let mut entries: Vec<Entry> =
        (0..1200).map(|_| Entry::Ended(Arc::new(old(Kind::Clean)))).collect();
    entries.extend((0..5).map(|_| Entry::OpenFailed(Arc::new(old(refused)))));
    let young = ConnectionId::new();
    entries.push(clean(young));
    let records = bench.store(&ledger, entries);
    until("the old ones are gone", || {
        bench.number("SELECT count(*) FROM endings") == 1
            && bench.number("SELECT count(*) FROM attempts") == 0
    });
    until("so are the counts", || {
        bench.number("SELECT count(*) FROM counted_attempts") == 0
            && ledger.summary(None, None, Property::Kind).is_ok_and(|summary| summary.total == 1)
    });
    assert_eq!(bench.texts("SELECT id FROM endings"), [young.to_string()]);
    let last = records.last().unwrap().sequence().unwrap();
    let replay = ledger.after(last - 1, 10).unwrap();
    assert_eq!((replay.endings.len(), replay.gap), (1, false));
}

#[test]
fn the_wal_stays_short() {
    let bench = Bench::new();
    let ledger = bench.open();
    for _ in 0..40 {
        bench.store(&ledger, (0..1000).map(|_| clean(ConnectionId::new())).collect());
    }
    let wal = std::fs::metadata(bench.path().with_extension("db-wal")).unwrap().len();
    assert!(wal < 90 << 20, "{} MiB", wal >> 20);
    until("it restarts once all of it is in the file", || {
        bench.store(&ledger, vec![clean(ConnectionId::new())]);
        bench.number_of_wal_pages() <= 1100
    });
}
