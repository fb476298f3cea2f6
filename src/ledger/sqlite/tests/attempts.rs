//! A flood of attempts is counted and costs no ending its space.

use super::*;

#[test]
fn what_is_beyond_the_rate_is_counted() {
    let mut bench = Bench::new();
    bench.options.open_failed_per_second = 5;
    let ledger = bench.open();
    // All fall into one second, or two.
    let records = bench.store(&ledger, (0..200).map(|_| attempt("203.0.113.9:1")).collect());
    let stored = records.iter().filter(|record| matches!(record, Record::Durable(_))).count();
    let counted = records.iter().filter(|record| **record == Record::Counted).count();
    assert!((5..=10).contains(&stored), "{stored}");
    assert_eq!(stored + counted, 200);
    assert_eq!(ledger.counted_attempts(), counted as u64);
    ledger.close();
    assert_eq!(bench.number("SELECT count(*) FROM attempts"), stored as i64);
    assert_eq!(bench.number("SELECT sum(count) FROM counted_attempts"), counted as i64);
    assert_eq!(
        bench.texts("SELECT DISTINCT listener || ' ' || open_failure || ' ' || network || ' ' || fault FROM counted_attempts"),
        ["public no_route 203.0.113.0/24 peer"]
    );
}

#[test]
fn each_listener_has_its_own_rate() {
    let mut bench = Bench::new();
    bench.options.open_failed_per_second = 1;
    let ledger = bench.open();
    let at = |listener: &str| {
        let origin = Origin { listener: Some(listener.into()), ..origin("10.0.0.1:1") };
        let kind = Kind::OpenFailed(OpenFailure::NoRoute);
        Entry::OpenFailed(Arc::new(ending(ConnectionId::new(), kind, origin)))
    };
    let records = bench.store(&ledger, vec![at("a"), at("b")]);
    assert!(records.iter().all(|record| matches!(record, Record::Durable(_))), "{records:?}");
}

#[test]
fn networks_beyond_a_thousand_a_minute_are_other() {
    let mut bench = Bench::new();
    bench.options.open_failed_per_second = 0;
    let ledger = bench.open();
    let attempts = (0..5000).map(|number| attempt(&peer(number * 256)));
    let records = bench.store(&ledger, attempts.collect());
    assert!(records.iter().all(|record| *record == Record::Counted));
    ledger.close();
    let rows = bench.number("SELECT count(*) FROM counted_attempts");
    // A new minute may begin in between.
    assert!((1001..=2002).contains(&rows), "{rows}");
    assert_eq!(bench.number("SELECT sum(count) FROM counted_attempts"), 5000);
    let summary = "SELECT count(*) > 0 FROM counted_attempts WHERE network = 'other'";
    assert_eq!(bench.number(summary), 1);
}

#[test]
fn a_flood_evicts_no_ending() {
    let mut bench = Bench::new();
    bench.options.max_size = ByteSize::mib(4);
    // A minute's worth at 10,000 attempts a second: more than fits.
    bench.options.open_failed_per_second = 3000;
    let ledger = bench.open();
    let endings: Vec<ConnectionId> = (0..1800).map(|_| ConnectionId::new()).collect();
    bench.store(&ledger, endings.iter().map(|id| clean(*id)).collect());
    let live = bench.number("SELECT (SELECT page_count FROM pragma_page_count) * 4096");
    assert!(live > 2_500_000, "the endings have most of their share: {live}");
    for round in 0..6 {
        bench.store(&ledger, (0..10_000).map(|at| attempt(&peer(round * 10_000 + at))).collect());
    }
    let bound = ByteSize::mib(4).0 as i64;
    let live = "SELECT (SELECT page_count FROM pragma_page_count) \
                - (SELECT freelist_count FROM pragma_freelist_count)";
    until("the attempts are within their share", || {
        bench.number("SELECT attempt_bytes FROM ledger") <= bound / 10
    });
    assert!(bench.number(live) * 4096 <= bound);
    assert_eq!(bench.number("SELECT count(*) FROM endings"), 1800, "no ending gave way");
    assert!(bench.number("SELECT count(*) FROM attempts") > 20);
    assert!(ledger.after(1, 10).unwrap().gap, "attempts are gone");
}

#[test]
fn a_flood_from_one_address_leaves_half_of_the_rate_to_others() {
    let mut bench = Bench::new();
    bench.options.open_failed_per_second = 20;
    let ledger = bench.open();
    bench.store(&ledger, vec![attempt("203.0.113.9:1")]);
    let flooded: Vec<Entry> = (0..300).map(|_| attempt("198.51.100.66:1")).collect();
    let mut entries = flooded.clone();
    entries.extend((0..5).map(|number| attempt(&peer(number))));
    entries.extend(flooded);
    let records = bench.store(&ledger, entries);
    let of_others = &records[300..305];
    assert!(of_others.iter().all(|record| matches!(record, Record::Durable(_))), "{of_others:?}");
    let count = "SELECT count(*) FROM attempts WHERE peer LIKE '198.51.100.66:%'";
    // All fall into one second, or two.
    assert!((10..=20).contains(&bench.number(count)));
}
