//! The SQLite archive answers queries like the one in memory.

use super::super::queries::{first_since, last_until};
use super::*;
use crate::ledger::InMemory;

/// The same endings in both ledgers.
struct Both {
    bench: Bench,
    sqlite: Arc<Sqlite>,
    memory: InMemory,
}

impl Both {
    fn new(entries: Vec<Entry>) -> Self {
        let bench = Bench::new();
        let (sqlite, memory) = (bench.open(), InMemory::default());
        bench.store(&sqlite, entries.clone());
        let deaf: Arc<dyn Committed> = Recorder::new();
        for entry in entries {
            memory.append(entry, &deaf);
        }
        Self { bench, sqlite, memory }
    }

    /// Queries both, and returns how many endings both return.
    fn matching(&self, filter: EndingFilter) -> usize {
        let filter = EndingFilter { limit: 100, ..filter };
        let (sqlite, memory) =
            (self.sqlite.endings(&filter).unwrap(), self.memory.endings(&filter).unwrap());
        assert_eq!(sqlite, memory, "{filter:?}");
        sqlite.endings.len()
    }
}

fn mixed() -> Vec<Entry> {
    let of = |kind, origin: Origin| ending(ConnectionId::new(), kind, origin);
    let six = |peer: &str| Origin { path: None, user_agent: None, ..origin(peer) };
    let subject = Origin { subject: Some("ann".into()), route: None, ..origin("10.0.0.2:7") };
    vec![
        Entry::Ended(Arc::new(of(Kind::Clean, origin("10.0.0.1:5")))),
        Entry::Ended(Arc::new(of(Kind::ConnectionReset, origin("10.0.0.1:6")))),
        Entry::OpenFailed(Arc::new(of(
            Kind::OpenFailed(OpenFailure::NoRoute),
            origin("10.0.0.1:7"),
        ))),
        Entry::Ended(Arc::new(of(Kind::Clean, subject))),
        Entry::Ended(Arc::new(of(Kind::Clean, six("[::1]:5")))),
        Entry::Ended(Arc::new(of(Kind::PongTimeout, six("10.0.0.11:5")))),
    ]
}

#[test]
fn both_ledgers_answer_alike() {
    let both = Both::new(mixed());
    let text = |text: &str| Some(text.to_owned());
    let all = EndingFilter::default;
    assert_eq!(both.matching(all()), 6);
    for (kind, count) in [("clean", 3), ("open_failed", 1), ("process_died", 0)] {
        assert_eq!(both.matching(EndingFilter { kind: text(kind), ..all() }), count, "{kind}");
    }
    assert_eq!(both.matching(EndingFilter { code: Some(1000), ..all() }), 3);
    assert_eq!(both.matching(EndingFilter { code: Some(1006), ..all() }), 2);
    assert_eq!(both.matching(EndingFilter { fault: Some(Fault::Peer), ..all() }), 3);
    for cause in [Cause::Peer, Cause::None, Cause::Api] {
        let by_cause = both.sqlite.summary(None, None, Property::Cause).unwrap();
        let mut counts = by_cause.counts.iter();
        let counted = counts.find(|count| count.value.as_deref() == Some(cause.as_str()));
        let due = counted.map_or(0, |count| usize::try_from(count.count).unwrap());
        assert_eq!(both.matching(EndingFilter { cause: Some(cause), ..all() }), due, "{cause}");
    }
    assert_eq!(both.matching(EndingFilter { route: text("chat"), ..all() }), 5);
    assert_eq!(both.matching(EndingFilter { subject: text("ann"), ..all() }), 1);
    let path = text("/chat?room=7&token=***");
    assert_eq!(both.matching(EndingFilter { path, ..all() }), 4);
    for (peer, count) in [("10.0.0.1:5", 1), ("10.0.0.1", 3), ("10.0.0", 0), ("[::1]", 1)] {
        assert_eq!(both.matching(EndingFilter { peer: text(peer), ..all() }), count, "{peer}");
    }
    let bare = EndingFilter { peer: text("::1"), limit: 10, ..all() };
    assert_eq!(both.sqlite.endings(&bare).unwrap().endings.len(), 1);
    let hour = Duration::from_secs(3600);
    let (past, future) = (SystemTime::now() - hour, SystemTime::now() + hour);
    assert_eq!(both.matching(EndingFilter { since: Some(past), until: Some(future), ..all() }), 6);
    assert_eq!(both.matching(EndingFilter { since: Some(future), ..all() }), 0);
    assert_eq!(both.matching(EndingFilter { until: Some(past), ..all() }), 0);
    for by in Property::ALL {
        let summary = |archive: &dyn Archive| archive.summary(None, None, by).unwrap();
        assert_eq!(summary(&*both.sqlite), summary(&both.memory), "{by:?}");
    }
    let slots = Slots::new(past, future, 60).unwrap();
    for by in Property::ALL {
        let over_time = |archive: &dyn Archive| archive.over_time(&slots, by).unwrap();
        let found = over_time(&*both.sqlite);
        assert_eq!(found, over_time(&both.memory), "{by:?}");
        if Property::OVER_TIME.contains(&by) {
            assert_eq!(found.values.iter().map(|one| one.total).sum::<u64>(), 6, "{by:?}");
        }
    }
    for sequence in 0..8 {
        let after = |archive: &dyn Archive| archive.after(sequence, 3).unwrap();
        assert_eq!(after(&*both.sqlite), after(&both.memory), "{sequence}");
    }
}

#[test]
fn both_ledgers_find_a_peer_in_every_notation() {
    let peers = ["10.0.0.1:5", "[::1]:5", "[fe80::1%2]:5", "[fe80::1%3]:5", "unix:/run/x.sock"];
    let of = |peer: &str| ending(ConnectionId::new(), Kind::Clean, origin(peer));
    let both = Both::new(peers.iter().map(|peer| Entry::Ended(Arc::new(of(peer)))).collect());
    for (peer, count) in [
        ("::ffff:10.0.0.1", 1),
        ("[::ffff:10.0.0.1]:5", 1),
        ("[::ffff:10.0.0.1]:55", 0),
        ("0:0:0:0:0:0:0:1", 1),
        ("[::1]:5", 1),
        ("::1%eth0", 1),
        ("[::1]:6", 0),
        ("fe80::1", 2),
        ("FE80::1%2", 1),
        ("[fe80::1]:5", 2),
        ("[fe80::1%3]:5", 1),
        ("[fe80::1]:55", 0),
        ("unix:/run/x.sock", 1),
        ("unix:", 0),
    ] {
        let filter = EndingFilter { peer: Some(peer.to_owned()), ..EndingFilter::default() };
        assert_eq!(both.matching(filter), count, "{peer}");
    }
}

#[test]
fn an_ending_is_found_by_its_id_and_its_last_digits() {
    let entries = mixed();
    let both = Both::new(entries.clone());
    for entry in &entries {
        let (Entry::Ended(ending) | Entry::OpenFailed(ending)) = entry else { continue };
        for name in [ending.id.to_string(), ending.id.short()] {
            let name: ConnectionName = name.parse().unwrap();
            let found = both.sqlite.ending(name).unwrap();
            assert!(found.is_some());
            assert_eq!(found, both.memory.ending(name).unwrap());
        }
    }
    let other = ConnectionName::Id(ConnectionId::new());
    assert_eq!(both.sqlite.ending(other).unwrap(), None);
}

#[test]
fn pages_follow_each_other() {
    let both = Both::new(mixed());
    let (mut before, mut seen) = (None, Vec::new());
    loop {
        let filter = EndingFilter { before, limit: 4, ..EndingFilter::default() };
        let page = both.sqlite.endings(&filter).unwrap();
        seen.extend(page.endings.iter().map(|ending| ending.sequence));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, [6, 5, 4, 3, 2, 1]);
}

#[test]
fn counted_attempts_are_in_the_summary() {
    let mut bench = Bench::new();
    bench.options.open_failed_per_second = 0;
    let ledger = bench.open();
    bench.store(&ledger, (0..7).map(|_| attempt("10.0.0.1:5")).collect());
    bench.store(&ledger, vec![clean(ConnectionId::new())]);
    let count = |by: Property, value: Option<&str>| {
        let summary = ledger.summary(None, None, by).unwrap();
        let found = summary.counts.iter().find(|count| count.value.as_deref() == value);
        (found.map_or(0, |count| count.count), summary.total)
    };
    until("they are stored", || count(Property::Kind, Some("open_failed")) == (7, 8));
    assert_eq!(count(Property::Fault, Some("peer")), (7, 8));
    assert_eq!(count(Property::Cause, Some("none")), (7, 8));
    assert_eq!(count(Property::Route, None), (7, 8));
    assert_eq!(count(Property::UserAgent, None), (0, 1));
    let hour = Duration::from_secs(3600);
    let now = SystemTime::now();
    let slots = Slots::new(now - hour, now + hour, 120).unwrap();
    for (by, value) in
        [(Property::Kind, "open_failed"), (Property::Fault, "peer"), (Property::Cause, "none")]
    {
        let timeline = ledger.over_time(&slots, by).unwrap();
        let found = timeline.values.iter().find(|one| one.value == value).unwrap();
        let filled: Vec<u64> = found.counts.iter().copied().filter(|count| *count > 0).collect();
        assert_eq!((found.total, filled.iter().sum::<u64>()), (7, 7), "{by:?}");
        assert!(filled.len() <= 2, "they came within a second: {filled:?}");
    }
    let later = ledger.summary(Some(SystemTime::now() + hour), None, Property::Kind).unwrap();
    assert_eq!(later, Summary::default());
    let since = Some(SystemTime::now() - hour);
    assert_eq!(ledger.summary(since, None, Property::Kind).unwrap().total, 8);
}

#[test]
fn questions_use_the_indexes() {
    let both = Both::new(mixed());
    let plan = |condition: &str| {
        let rows = both.bench.look();
        let mut query = rows
            .prepare(&format!(
                "EXPLAIN QUERY PLAN SELECT sequence, record FROM endings WHERE {condition} \
                 ORDER BY sequence DESC LIMIT 101"
            ))
            .unwrap();
        let rows = query.query_map([], |row| row.get::<_, String>(3)).unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    };
    for (condition, index) in [
        ("substr(id, 25) = 'x'", "endings_by_short_id"),
        ("(peer = 'x' OR (peer >= 'x:' AND peer < 'x;'))", "endings_by_peer"),
        (
            "(peer = 'x' OR (peer >= 'x%' AND peer < 'x&' AND substr(peer, -length(']:5')) = ']:5'))",
            "endings_by_peer",
        ),
        ("1 AND subject = 'x'", "endings_by_subject"),
        (
            &format!("+ended_at >= 'x' AND sequence >= ({})", first_since("endings", "'x'")),
            "SEARCH endings USING INTEGER PRIMARY KEY",
        ),
    ] {
        assert!(plan(condition).contains(index), "{condition}: {}", plan(condition));
    }
}

/// A file may have more user agents than fit into memory: those of most endings are still counted.
#[test]
fn a_summary_of_many_values_is_bounded() {
    let bench = Bench::new();
    let ledger = bench.open();
    let insert = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 50000)
         INSERT INTO attempts SELECT n, n, '2026-01-01T00:00:00', 'no_route', 'peer', 'none', NULL,
           NULL, NULL, NULL, CASE n % 100 WHEN 0 THEN 'frequent' ELSE printf('%500d', n) END, 0, '{}'
         FROM n";
    bench.look().execute_batch(insert).unwrap();
    let summary = ledger.summary(None, None, Property::UserAgent).unwrap();
    assert_eq!((summary.total, summary.counts.len()), (50_000, 1000));
    let most = crate::ledger::Count { value: Some("frequent".to_owned()), count: 500 };
    assert_eq!(summary.counts[0], most);
}

/// The last hour is found without reading the weeks before it.
#[test]
fn the_bounds_of_a_period_are_read_from_an_index_alone() {
    let both = Both::new(mixed());
    let rows = both.bench.look();
    for table in ["endings", "attempts"] {
        for query in [first_since(table, "'x'"), last_until(table, "'x'")] {
            let mut plan = rows.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
            let plan: String = plan.query_row([], |row| row.get(3)).unwrap();
            assert!(plan.contains(&format!("COVERING INDEX {table}_over_time")), "{query}: {plan}");
        }
    }
}

/// A million endings take some 1.4 GB of rows, which a count over time must not read.
#[test]
fn counts_over_time_are_read_from_an_index_alone() {
    let both = Both::new(mixed());
    for (table, columns) in
        [("endings", &["kind", "fault", "cause"][..]), ("attempts", &["fault", "cause"])]
    {
        for column in columns {
            let rows = both.bench.look();
            let mut query = rows
                .prepare(&format!(
                    "EXPLAIN QUERY PLAN SELECT ended_at, CAST({column} AS TEXT) FROM {table} \
                     WHERE ended_at >= 'x' AND ended_at < 'y' ORDER BY ended_at"
                ))
                .unwrap();
            let plan = query.query_map([], |row| row.get::<_, String>(3)).unwrap();
            let plan: Vec<String> = plan.map(Result::unwrap).collect();
            let due = format!("USING COVERING INDEX {table}_over_time");
            assert!(plan.len() == 1 && plan[0].contains(&due), "{table} {column}: {plan:?}");
        }
    }
}

/// Endings lie in the slot in which they ended, to the millisecond.
#[test]
fn each_ending_is_counted_in_its_slot() {
    let began = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    let entries: Vec<Entry> = [0_u64, 999, 1000, 1999, 2500, 3000]
        .into_iter()
        .map(|millis| {
            let mut one = ending(ConnectionId::new(), Kind::Clean, origin("10.0.0.1:5"));
            one.ended_at = began + Duration::from_millis(millis);
            Entry::Ended(Arc::new(one))
        })
        .collect();
    let both = Both::new(entries);
    let slots = Slots::new(began, began + Duration::from_secs(3), 3).unwrap();
    for archive in [&*both.sqlite as &dyn Archive, &both.memory] {
        let timeline = archive.over_time(&slots, Property::Kind).unwrap();
        assert_eq!(timeline.values.len(), 1);
        assert_eq!(timeline.values[0].counts, [2, 2, 1]);
    }
}

#[test]
fn a_question_does_not_wait_for_the_writer() {
    let bench = Bench::new();
    let ledger = bench.open();
    let id = ConnectionId::new();
    bench.store(&ledger, vec![clean(id)]);
    let other = bench.look();
    other.execute_batch("BEGIN IMMEDIATE; DELETE FROM endings").unwrap();
    let began = Instant::now();
    assert!(ledger.ending(ConnectionName::Id(id)).unwrap().is_some());
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
}

#[test]
fn times_that_cannot_be_written_are_cut_off() {
    let both = Both::new(mixed());
    let epoch = SystemTime::UNIX_EPOCH;
    let filter = EndingFilter {
        since: epoch.checked_sub(Duration::from_secs(1 << 40)),
        until: epoch.checked_add(Duration::from_secs(1 << 50)),
        limit: 10,
        ..EndingFilter::default()
    };
    assert_eq!(both.sqlite.endings(&filter).unwrap().endings.len(), 6);
}

/// Whatever a damaged or foreign file has in its rows, a query answers or says what is wrong.
#[test]
fn rows_of_any_content_are_answered_or_refused() {
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
    let slots = Slots::new(now - hour, now + hour, 9).unwrap();
    let contents = ["NULL", "'{'", "x'ff00fe'", "1.5e300"];
    for content in contents {
        for column in ["id", "ended_at", "kind", "fault", "cause", "close_code", "peer", "record"] {
            let both = Both::new(mixed());
            let Both { bench, sqlite, .. } = &both;
            let file = Connection::open(bench.path()).unwrap();
            // What a column may not hold cannot be damaged so.
            let damage = format!("UPDATE OR IGNORE endings SET {column} = {content}");
            if file.execute_batch(&damage).is_err() {
                continue;
            }
            let filter = EndingFilter { limit: 100, ..EndingFilter::default() };
            match sqlite.endings(&filter) {
                Ok(page) => assert_eq!(page.endings.len(), 6, "{column} = {content}"),
                Err(error) => assert!(error.0.contains("ledger"), "{column} = {content}: {error}"),
            }
            for answer in [
                sqlite.summary(None, None, Property::Kind).map(drop),
                sqlite.after(0, 100).map(drop),
                sqlite.over_time(&slots, Property::Kind).map(drop),
            ] {
                let problem = answer.err().map(|error| error.0);
                assert!(problem.is_none_or(|why| why.contains("ledger")), "{column} = {content}");
            }
        }
    }
}
