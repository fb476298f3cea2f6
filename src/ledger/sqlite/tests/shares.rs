//! A network that floods the ledger loses its own history first.

use super::super::schema::{STEPS, migrate};
use super::*;
use crate::ledger::InMemory;
use crate::vocabulary::{Network, network_of};

/// The smallest ledger that can be configured.
const SIZE: ByteSize = ByteSize::mib(4);

const FLOOD: &str = "198.51.100.66";

fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.options.max_size = SIZE;
    bench
}

fn ended_of(origin: Origin) -> Entry {
    Entry::Ended(Arc::new(ending(ConnectionId::new(), Kind::Clean, origin)))
}

/// An ending of each of `count` clients, from this number on.
fn others(from: u32, count: u32) -> Vec<Entry> {
    (from..from + count).map(|number| ended_of(origin(&peer(number)))).collect()
}

/// The longest path that is recorded, from one address.
fn long(port: u32) -> Origin {
    Origin {
        path: Some(format!("/{}", "x".repeat(1000))),
        ..origin(&format!("{FLOOD}:{}", port % 60_000))
    }
}

fn flood(count: u32) -> Vec<Entry> {
    (0..count).map(|port| ended_of(long(port))).collect()
}

/// The leg to an application, for the client of `flood`.
fn leg(port: u32) -> Origin {
    let client = long(port);
    Origin {
        direction: Direction::Outbound,
        listener: None,
        peer: Some("192.0.2.1:3000".into()),
        client: client.peer.clone(),
        ..client
    }
}

impl Bench {
    fn count_of(&self, network: &str) -> i64 {
        self.number(&format!("SELECT count(*) FROM endings WHERE network = '{network}'"))
    }

    fn count_of_others(&self) -> i64 {
        self.number(&format!("SELECT count(*) FROM endings WHERE network <> '{FLOOD}'"))
    }

    fn await_bound(&self) {
        let live = "SELECT ((SELECT page_count FROM pragma_page_count) \
                    - (SELECT freelist_count FROM pragma_freelist_count)) * 4096";
        until("it is within its bound", || self.number(live) <= SIZE.0 as i64 * 17 / 20);
    }

    /// Asserts that the table of networks says what is there.
    fn assert_counted_exactly(&self) {
        let wrong = self.texts(
            "SELECT network || ' ' || bytes || ' ' || really FROM (SELECT network, bytes, \
             (SELECT coalesce(sum(size), 0) FROM endings \
              WHERE endings.network = networks.network AND sequence >= first) AS really \
             FROM networks) WHERE bytes <> really",
        );
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}

#[test]
fn the_endings_of_others_outlive_a_flood_from_one_address() {
    let bench = bench();
    let ledger = bench.open();
    bench.store(&ledger, others(0, 100));
    let mut last = 0;
    for round in 1..=5 {
        let records = bench.store(&ledger, flood(1200));
        assert!(records.iter().all(|record| matches!(record, Record::Durable(_))), "all stored");
        last = bench.store(&ledger, others(round * 1000, 8))[7].sequence().unwrap();
    }
    bench.await_bound();
    assert_eq!(bench.count_of_others(), 140, "no other ending gave way");
    assert!(bench.count_of(FLOOD) > 200, "the flood keeps what the others do not need");
    assert_eq!(bench.number("SELECT max(sequence) FROM endings"), last as i64);
    bench.assert_counted_exactly();
}

#[test]
fn a_reader_pages_across_what_was_removed() {
    let bench = bench();
    let ledger = bench.open();
    bench.store(&ledger, others(0, 100));
    bench.store(&ledger, flood(2000));
    bench.await_bound();
    let removed = bench.number("SELECT removed FROM ledger") as u64;
    assert!(removed > 200, "some of the flood is gone");
    let left = bench.number("SELECT count(*) FROM endings") as usize;
    let (mut last, mut read) = (0, Vec::new());
    loop {
        let page = ledger.after(last, 50).unwrap();
        assert_eq!(page.gap, last < removed, "after {last}");
        let Some(newest) = page.endings.last() else { break };
        last = newest.sequence;
        read.extend(page.endings.iter().map(|stored| stored.sequence));
    }
    assert_eq!(read.len(), left);
    assert!(read.is_sorted() && read[..100] == (1..=100).collect::<Vec<u64>>());
    // Nothing behind the last one that gave way is missing.
    assert!(ledger.after(removed - 1, 1).unwrap().gap);
    let rest = ledger.after(removed, 1000).unwrap();
    assert!(!rest.gap);
    assert_eq!(rest.endings.len() as u64, 2100 - removed);
    let (mut before, mut found) = (None, 0);
    loop {
        let filter = EndingFilter { before, limit: 100, ..EndingFilter::default() };
        let page = ledger.endings(&filter).unwrap();
        found += page.endings.len();
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(found, left, "likewise from the newest to the oldest");
}

#[test]
fn both_legs_of_a_relay_go_with_the_client() {
    let bench = bench();
    let ledger = bench.open();
    let calm = |number: u32| {
        let client = origin(&peer(number));
        let leg = Origin { client: client.peer.clone(), ..leg(number) };
        [ended_of(client), ended_of(leg)]
    };
    bench.store(&ledger, (0..50).flat_map(calm).collect());
    for _ in 0..3 {
        let pairs = (0..600).flat_map(|port| [ended_of(long(port)), ended_of(leg(port))]);
        bench.store(&ledger, pairs.collect());
    }
    bench.await_bound();
    assert_eq!(bench.count_of_others(), 100, "no leg of another client gave way");
    assert_eq!(bench.number("SELECT count(*) FROM networks WHERE network LIKE '192.0.2.%'"), 0);
    bench.assert_counted_exactly();
}

#[test]
fn dialled_connections_are_a_group_of_their_own() {
    let bench = bench();
    let ledger = bench.open();
    let dialled = |number: u32| Origin { client: None, ..leg(number) };
    bench.store(&ledger, others(0, 100));
    bench.store(&ledger, (0..2000).map(|number| ended_of(dialled(number))).collect());
    bench.await_bound();
    assert_eq!(bench.number("SELECT count(*) FROM endings WHERE network <> 'dialled'"), 100);
    assert!(bench.count_of("dialled") > 200);
}

#[test]
fn below_its_share_no_network_gives_way_before_older_endings() {
    let bench = bench();
    let ledger = bench.open();
    // Ten networks of a tenth each, twice what fits.
    let of =
        |number: u32, network: u32| ended_of(Origin { peer: Some(peer(network)), ..long(number) });
    for _ in 0..2 {
        bench.store(&ledger, (0..1200).map(|number| of(number, number % 10)).collect());
    }
    bench.await_bound();
    let oldest = bench.number("SELECT min(sequence) FROM endings");
    assert_eq!(bench.number("SELECT removed FROM ledger"), oldest - 1);
    assert_eq!(bench.number("SELECT count(*) FROM endings"), 2400 - oldest + 1, "no gaps");
    bench.assert_counted_exactly();
}

#[test]
fn those_of_a_dead_process_are_counted_for_their_clients() {
    let bench = bench();
    let ledger = bench.open();
    let opened_of = |origin: Origin| {
        let (id, node, opened_at) = (ConnectionId::new(), "a1".into(), SystemTime::now());
        Entry::Opened(Arc::new(ConnectionOpened {
            id,
            node,
            origin: Arc::new(origin),
            relay_peer: None,
            opened_at,
        }))
    };
    bench.store(&ledger, vec![opened_of(long(1)), opened_of(leg(1)), opened_of(origin(&peer(7)))]);
    let died = bench.after_death();
    assert_eq!(died.recover().1, 3);
    let counts = "SELECT network || ' ' || count(*) FROM endings GROUP BY network ORDER BY network";
    assert_eq!(died.texts(counts), ["10.0.0.7 1", &format!("{FLOOD} 2")]);
    died.assert_counted_exactly();
    assert_eq!(died.number("SELECT count(*) FROM networks"), 2);
}

#[test]
fn what_is_counted_is_exact_after_failures_and_deaths() {
    let bench = bench();
    let ledger = bench.open();
    for round in 0..4 {
        bench.store(&ledger, flood(400));
        // The disk fails before a commit, and behind one.
        let failing = if round % 2 == 0 { Moment::Before } else { Moment::After };
        bench.options.faults.script(move |moment| match moment == failing {
            true => Err(broken()),
            false => Ok(()),
        });
        bench.store(&ledger, others(round * 100, 20));
        bench.options.faults.heal();
        until("it has recovered", || ledger.health() == Health::Good);
        bench.store(&ledger, others(round * 100, 20));
        let died = bench.after_death();
        let recovered = died.open();
        died.store(&recovered, flood(1));
        died.assert_counted_exactly();
    }
    bench.await_bound();
    bench.assert_counted_exactly();
}

#[test]
fn the_table_of_networks_is_bounded() {
    let bench = bench();
    let ledger = bench.open();
    let bound = SIZE.0 as i64 * 17 / 20 / 4096;
    bench.store(&ledger, flood(10));
    for round in 0..3 {
        bench.store(&ledger, others(round * 320, 320));
    }
    until("the smallest are dropped", || bench.number("SELECT count(*) FROM networks") <= bound);
    let largest = "SELECT network FROM networks ORDER BY bytes DESC LIMIT 1";
    assert_eq!(bench.texts(largest), [FLOOD], "the largest stay");
    // Those that were dropped are counted again from now on.
    bench.store(&ledger, others(0, 320));
    bench.assert_counted_exactly();
    bench.store(&ledger, flood(2000));
    bench.await_bound();
    bench.assert_counted_exactly();
    assert_eq!(bench.count_of_others(), 1280);
}

#[test]
fn a_file_of_version_2_ages_out_as_the_oldest() {
    let bench = bench();
    let mut old = bench.look();
    migrate(&mut old, &STEPS[..2]).unwrap();
    let now = humantime::format_rfc3339_millis(SystemTime::now());
    old.execute_batch(&format!(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2000)
         INSERT INTO endings SELECT n, printf('01982b7e-4f6a-7c3d-9e21-%012x', n), '{now}', 'clean',
           'none', 'peer', 1000, 'chat', NULL, '203.0.113.9:' || n, '/chat', NULL,
           printf('{{\"kind\":\"clean\",\"detail\":\"%1000s\"}}', n) FROM n;
         UPDATE ledger SET sequence = 2000, alive_at = '{now}';"
    ))
    .unwrap();
    drop(old);
    let ledger = bench.open();
    assert!(bench.number_of_wal_pages() < 100, "no row is rewritten");
    assert_eq!(bench.number("SELECT count(*) FROM endings WHERE network IS NULL"), 2000);
    assert_eq!(bench.number("SELECT count(*) FROM networks"), 0);
    bench.store(&ledger, others(0, 100));
    bench.store(&ledger, flood(2000));
    bench.await_bound();
    bench.assert_counted_exactly();
    assert_eq!(bench.count_of_others(), 100);
    let left = bench.number("SELECT count(*) FROM endings WHERE network IS NULL");
    assert!((1000..2000).contains(&left), "the flood took its share of them, and no more: {left}");
    let oldest = bench.number("SELECT min(sequence) FROM endings");
    assert_eq!(oldest, 2000 - left + 1, "the oldest went first");
    assert!(ledger.ending(ConnectionName::Short(2000)).unwrap().is_some());
}

#[test]
fn the_ledger_in_memory_keeps_the_same_shares() {
    let memory = InMemory::new(100);
    let deaf: Arc<dyn Committed> = Recorder::new();
    let flooding = (0..1000).flat_map(|port| [ended_of(long(port)), ended_of(leg(port))]);
    for entry in others(0, 60).into_iter().chain(flooding) {
        memory.append(entry, &deaf);
    }
    let flooder = Network::Ip(network_of(FLOOD.parse().unwrap()));
    let count = |memory: &InMemory| {
        let kept = memory.kept();
        let of_flood = kept.iter().filter(|it| Network::of(&it.origin) == flooder).count();
        (of_flood, kept.len() - of_flood)
    };
    assert_eq!(count(&memory), (40, 60));
    let page = memory.after(0, 1000).unwrap();
    let numbers: Vec<u64> = page.endings.iter().map(|stored| stored.sequence).collect();
    let expected: Vec<u64> = (1..=60).chain(2021..=2060).collect();
    assert_eq!((numbers, page.gap), (expected, true));
    assert!(memory.after(2019, 10).unwrap().gap);
    assert!(!memory.after(2020, 10).unwrap().gap);
    // With more others than fit, the flood is pushed back to its share, and then the oldest go.
    for entry in others(1000, 45) {
        memory.append(entry, &deaf);
    }
    assert_eq!(count(&memory), (25, 75));
    let oldest = memory.after(0, 1).unwrap();
    assert_eq!(oldest.endings[0].sequence, 31);
}
