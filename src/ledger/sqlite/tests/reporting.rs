//! Every entry is reported once, in order and truthfully, whatever the disk does.

use std::collections::{HashMap, HashSet};

use rand::RngExt;

use super::*;
use crate::vocabulary::Closing;

#[test]
fn entries_are_reported_in_order_with_rising_numbers() {
    let bench = Bench::new();
    let ledger = bench.open();
    let id = ConnectionId::new();
    let closing = Entry::Closing(Closing {
        id,
        state: CloseState::CloseReceived,
        cause: Cause::Peer,
        at: SystemTime::now(),
    });
    let records = bench.store(&ledger, vec![opened(id), closing, clean(id), attempt("10.0.0.1:5")]);
    let [Record::Durable(a), Record::None, Record::Durable(b), Record::Durable(c)] = records[..]
    else {
        panic!("{records:?}");
    };
    assert!(a < b && b < c);
    ledger.close();
    let reopened = bench.open();
    let records = bench.store(&reopened, vec![attempt("10.0.0.1:5")]);
    assert!(matches!(records[..], [Record::Durable(d)] if d > c), "{records:?}");
}

#[test]
fn a_burst_of_endings_is_stored_whole() {
    let bench = Bench::new();
    let ledger = bench.open();
    *bench.recorder.archive.lock().unwrap() = Arc::downgrade(&ledger);
    let records = bench.store(&ledger, (0..10_000).map(|_| clean(ConnectionId::new())).collect());
    assert!(records.iter().all(|record| matches!(record, Record::Durable(_))));
    assert_eq!(bench.number("SELECT count(DISTINCT id) FROM endings"), 10_000);
    assert_eq!(ledger.unrecorded(), 0);
}

#[test]
fn an_entry_appended_after_the_close_is_reported_as_lost() {
    let bench = Bench::new();
    let ledger = bench.open();
    let stored = ConnectionId::new();
    bench.append(&ledger, clean(stored));
    ledger.close();
    assert_eq!(bench.recorder.count(), 1, "close waits for what was appended");
    let records = bench.store(&ledger, vec![clean(ConnectionId::new())]);
    assert_eq!(records, [Record::Failed]);
    assert_eq!(bench.texts("SELECT id FROM endings"), [stored.to_string()]);
    assert!(!bench.path().with_extension("db-wal").exists(), "a closed ledger is one file");
}

#[test]
fn a_listener_that_panics_does_not_stop_the_ledger() {
    struct Panics;
    impl Committed for Panics {
        fn committed(&self, _: Entry, _: Record) {
            panic!("this is part of the test");
        }
    }
    let bench = Bench::new();
    let ledger = bench.open();
    let panics: Arc<dyn Committed> = Arc::new(Panics);
    ledger.append(clean(ConnectionId::new()), &panics);
    let records = bench.store(&ledger, vec![clean(ConnectionId::new())]);
    assert!(matches!(records[..], [Record::Durable(_)]));
}

/// Opens and ends connections at random; returns what it appended.
fn appender(bench: &Bench, ledger: &Arc<Sqlite>, cycles: u32) -> Vec<(bool, ConnectionId)> {
    let mut random = rand::rng();
    let (mut appended, mut open) = (Vec::new(), Vec::new());
    for _ in 0..cycles {
        let ends = !open.is_empty() && random.random_bool(0.5);
        let id = if ends {
            open.swap_remove(random.random_range(0..open.len()))
        } else {
            ConnectionId::new()
        };
        if !ends {
            open.push(id);
        }
        appended.push((ends, id));
        bench.append(ledger, if ends { clean(id) } else { opened(id) });
        if random.random_bool(0.15) {
            std::thread::sleep(Duration::from_millis(random.random_range(0..10)));
        }
    }
    appended
}

/// Makes the disk fail, misreport writes and hang at random.
fn break_at_random(faults: &Faults, stall: Duration) {
    // The first writes succeed, so that something is always stored.
    let mut sound = 6;
    faults.script(move |_| match rand::random_range(0..100) {
        _ if sound > 0 => {
            sound -= 1;
            Ok(())
        }
        0..12 => Err(broken()),
        12..15 => {
            std::thread::sleep(stall * 2);
            Ok(())
        }
        15 => {
            std::thread::sleep(stall * 2);
            Err(broken())
        }
        _ => Ok(()),
    });
}

#[test]
fn whatever_the_disk_does_every_entry_is_reported_once_and_truthfully() {
    for round in 0..4 {
        let mut bench = Bench::new();
        bench.options.stall_timeout = Duration::from_millis(60);
        let ledger = bench.open();
        break_at_random(&bench.options.faults, bench.options.stall_timeout);
        let appended: Vec<Vec<(bool, ConnectionId)>> = std::thread::scope(|scope| {
            let start = |_| scope.spawn(|| appender(&bench, &ledger, 700));
            let appenders: Vec<_> = (0..4).map(start).collect();
            appenders.into_iter().map(|appender| appender.join().unwrap()).collect()
        });
        let count = appended.iter().map(Vec::len).sum();
        bench.recorder.wait_for(count);
        bench.options.faults.heal();
        until("the ledger is healthy again", || ledger.health() == Health::Good);
        let died = bench.after_death();
        ledger.close();

        let records = bench.recorder.all();
        assert_eq!(records.len(), count, "round {round}: reported once");
        let place: HashMap<(bool, ConnectionId), usize> =
            records.iter().enumerate().map(|(at, (entry, _))| (key(entry), at)).collect();
        assert_eq!(place.len(), count, "round {round}: reported once each");
        for appended in &appended {
            let places: Vec<usize> = appended.iter().map(|key| place[key]).collect();
            assert!(places.is_sorted(), "round {round}: reported in order");
        }
        let numbers: Vec<u64> =
            records.iter().filter_map(|(_, record)| record.sequence()).collect();
        assert!(numbers.windows(2).all(|two| two[0] < two[1]), "round {round}: rising numbers");
        assert!(!numbers.is_empty(), "round {round}: something was stored");

        let stored = bench.texts("SELECT id FROM endings");
        let distinct: HashSet<&String> = stored.iter().collect();
        assert_eq!(distinct.len(), stored.len(), "round {round}: stored once");
        let lost = records.iter().filter(|(entry, record)| {
            let Some(id) = ended(entry) else { return false };
            let is_stored = distinct.contains(&id.to_string());
            assert!(is_stored || *record == Record::Failed, "round {round}: {id} was reported");
            *record == Record::Failed
        });
        assert_eq!(ledger.unrecorded(), lost.count() as u64, "round {round}");

        // After a death at that moment, exactly the open connections are recorded as died.
        let mut open: HashSet<String> = HashSet::new();
        for (ends, id) in appended.iter().flatten() {
            if *ends {
                open.remove(&id.to_string())
            } else {
                open.insert(id.to_string())
            };
        }
        let (_ledger, found) = died.recover();
        let ids = died.texts("SELECT id FROM endings WHERE kind = 'process_died'");
        assert_eq!(found, open.len() as u64, "round {round}");
        assert_eq!(ids.into_iter().collect::<HashSet<_>>(), open, "round {round}");
    }
}

fn key(entry: &Entry) -> (bool, ConnectionId) {
    match entry {
        Entry::Opened(opened) => (false, opened.id),
        Entry::Ended(ending) => (true, ending.id),
        Entry::Closing(_) | Entry::OpenFailed(_) | Entry::Revocation(_) => {
            panic!("{entry:?} was not appended")
        }
    }
}

/// Blocks in every report until the test releases it.
struct Held {
    recorder: Arc<Recorder>,
    leave: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Committed for Held {
    fn committed(&self, entry: Entry, record: Record) {
        let _ = self.leave.lock().unwrap().recv();
        self.recorder.committed(entry, record);
    }
}

#[test]
fn the_queue_stays_bounded_when_reporting_is_slow() {
    const COUNT: usize = 2000;
    let mut bench = Bench::new();
    bench.options.queue_bytes = ByteSize::kib(64);
    let ledger = bench.open();
    let (release, leave) = std::sync::mpsc::channel();
    let held = Held { recorder: Arc::clone(&bench.recorder), leave: Mutex::new(leave) };
    let held: Arc<dyn Committed> = Arc::new(held);
    let appended = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..COUNT {
                ledger.append(clean(ConnectionId::new()), &held);
                appended.fetch_add(1, Ordering::Relaxed);
            }
        });
        std::thread::sleep(Duration::from_millis(300));
        let waiting = appended.load(Ordering::Relaxed);
        assert!(waiting > 10 && waiting < 200, "{waiting} endings in 64 KiB");
        drop(release);
    });
    bench.recorder.wait_for(COUNT);
    assert_eq!(bench.recorder.count(), COUNT, "reported once");
}
