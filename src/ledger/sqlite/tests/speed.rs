//! What the ledger costs; the numbers are informative, the bounds generous enough for a busy
//! machine.

use super::super::schema::{STEPS, migrate};
use super::*;

/// The processor time of the ledger's threads.
fn cpu_of_ledger() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let mut found = Duration::ZERO;
    for task in tasks.map(Result::unwrap) {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        // The kernel keeps 15 bytes of a thread name, so the test's own thread does not match.
        if ["ledger-writer", "ledger-checkpoi", "ledger-watchdog"].contains(&name.trim()) {
            let schedstat = std::fs::read_to_string(task.path().join("schedstat")).unwrap();
            let nanos: u64 = schedstat.split(' ').next().unwrap().parse().unwrap();
            found += Duration::from_nanos(nanos);
        }
    }
    found
}

#[test]
#[ignore = "a measurement: run it alone, in a release build, with --nocapture"]
#[allow(clippy::print_stdout, reason = "it is what the measurement is for")]
fn measure() {
    let bench = Bench::new();
    let ledger = bench.open();
    for (what, apart, pace, pairs) in [
        ("as fast as it goes, ending with its opening", 0, 0_u64, 100_000_usize),
        ("as fast as it goes, ending 5,000 openings later", 5000, 0, 100_000),
        ("2,000 a second, ending with its opening", 0, 2000, 10_000),
        ("2,000 a second, ending 1,000 openings later", 1000, 2000, 10_000),
        ("100 a second, ending 10 openings later", 10, 100, 500),
    ] {
        let timed = Arc::new(Timed::default());
        let recorder: Arc<dyn Committed> = Arc::clone(&timed) as Arc<dyn Committed>;
        let entries: Vec<(Entry, Entry)> =
            (0..pairs).map(|_| ConnectionId::new()).map(|id| (opened(id), clean(id))).collect();
        let (began, cpu) = (Instant::now(), cpu_of_ledger());
        for at in 0..pairs + apart {
            if let Some(due) = (at as u64 * 1_000_000).checked_div(pace) {
                let due = began + Duration::from_micros(due);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            let opening = entries.get(at).map(|(opening, _)| opening);
            let ending = at.checked_sub(apart).and_then(|at| entries.get(at));
            for entry in opening.into_iter().chain(ending.map(|(_, ending)| ending)) {
                // Keep the queue short, so that the latency is that of the ledger.
                while pace == 0
                    && timed.appended.lock().unwrap().len() - timed.reported.lock().unwrap().len()
                        > 10_000
                {
                    std::thread::sleep(Duration::from_millis(1));
                }
                timed.appended.lock().unwrap().push(Instant::now());
                ledger.append(entry.clone(), &recorder);
            }
        }
        until("everything is reported", || timed.reported.lock().unwrap().len() == 2 * pairs);
        let (took, cpu) = (began.elapsed(), cpu_of_ledger() - cpu);
        let (appended, records) = (timed.appended.lock().unwrap(), timed.reported.lock().unwrap());
        let mut waits: Vec<Duration> = records
            .iter()
            .zip(appended.iter())
            .map(|(records, appended)| *records - *appended)
            .collect();
        waits.sort();
        let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize];
        println!(
            "{what}: {:.0} pairs/s, {:.1} us CPU of the ledger's threads per pair, records after {:?} median, \
             {:?} 99 %, {:?} at most",
            pairs as f64 / took.as_secs_f64(),
            cpu.as_secs_f64() * 1e6 / pairs as f64,
            at(0.5),
            at(0.99),
            at(1.0),
        );
    }
    let (began, count) = (Instant::now(), 1000);
    for id in bench.texts("SELECT id FROM endings ORDER BY sequence DESC LIMIT 1000") {
        assert!(ledger.ending(id.parse().unwrap()).unwrap().is_some());
    }
    println!("an ending by its id: {:?}", began.elapsed() / count);
    let began = Instant::now();
    let total = ledger.summary(None, None, Property::UserAgent).unwrap().total;
    println!("a summary of {total} endings: {:?}", began.elapsed());
    let size = std::fs::metadata(bench.path()).unwrap().len();
    println!("{} bytes of file per ending", size / total);
}

#[test]
#[ignore = "a measurement: run it alone, in a release build, with --nocapture"]
#[allow(clippy::print_stdout, reason = "it is what the measurement is for")]
fn measure_counts_over_time() {
    let bench = Bench::new();
    let mut file = bench.look();
    file.pragma_update(None, "journal_mode", "wal").unwrap();
    migrate(&mut file, &STEPS[..3]).unwrap();
    // A week of endings, evenly, of the size that records have.
    file.execute_batch(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1000000)
         INSERT INTO endings SELECT n, printf('01982b7e-4f6a-7c3d-9e21-%012x', n),
           strftime('%Y-%m-%dT%H:%M:%fZ', 'now', printf('-%f seconds', (1000000 - n) * 0.6048)),
           CASE n % 5 WHEN 0 THEN 'connection_reset' ELSE 'clean' END,
           CASE n % 5 WHEN 0 THEN 'peer' ELSE 'none' END, 'peer', 1000, 'chat', NULL,
           '203.0.113.9:' || n, '/chat', NULL, printf('{\"detail\":\"%1200s\"}', n), NULL, NULL
         FROM n;",
    )
    .unwrap();
    let began = Instant::now();
    migrate(&mut file, STEPS).unwrap();
    println!("the index is made in {:?}", began.elapsed());
    drop(file);
    let ledger = bench.open();
    let now = SystemTime::now();
    for (period, seconds) in [("15 min", 900), ("1 h", 3600), ("24 h", 86_400), ("7 d", 604_800)] {
        let slots = Slots::new(now - Duration::from_secs(seconds), now, 60).unwrap();
        let began = Instant::now();
        let timeline = ledger.over_time(&slots, Property::Fault).unwrap();
        let total: u64 = timeline.values.iter().map(|one| one.total).sum();
        println!("{period}: {total} endings in {:?}", began.elapsed());
    }
}

#[derive(Default)]
struct Timed {
    appended: Mutex<Vec<Instant>>,
    reported: Mutex<Vec<Instant>>,
}

impl Committed for Timed {
    fn committed(&self, _: Entry, record: Record) {
        assert!(matches!(record, Record::Durable(_)), "{record:?}");
        self.reported.lock().unwrap().push(Instant::now());
    }
}
