//! A failing disk: callers never block, every entry is reported, and the open rows are correct
//! afterwards.

use super::*;

#[test]
fn what_cannot_be_stored_is_reported_at_once_and_counted() {
    let bench = Bench::new();
    let ledger = bench.open();
    let (before, during) = (ConnectionId::new(), ConnectionId::new());
    bench.store(&ledger, vec![opened(before)]);
    bench.options.faults.fail_all();
    let records = bench.store(&ledger, vec![clean(ConnectionId::new())]);
    assert_eq!(records, [Record::Failed]);
    let began = Instant::now();
    let records = bench.store(&ledger, vec![clean(before), opened(during), attempt("10.0.0.1:1")]);
    assert_eq!(records, [Record::Failed; 3]);
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    assert_eq!(ledger.unrecorded(), 3, "endings and attempts");
    let Health::Failing { problem, refuse: false } = ledger.health() else {
        panic!("{:?}", ledger.health())
    };
    assert!(problem.contains(bench.path().to_str().unwrap()), "{problem}");
    assert!(!ledger.refuses_new());

    bench.options.faults.heal();
    until("it is well again", || ledger.health() == Health::Good);
    let open = bench.texts("SELECT id FROM open_connections");
    assert_eq!(open, [during.to_string()], "neither too few nor too many");
    let records = bench.store(&ledger, vec![clean(during)]);
    assert!(matches!(records[..], [Record::Durable(_)]));
    assert_eq!(bench.number("SELECT count(*) FROM open_connections"), 0);
}

#[test]
fn new_connections_are_refused_while_it_fails_if_so_configured() {
    let mut bench = Bench::new();
    bench.options.on_failure = FailurePolicy::Refuse;
    let ledger = bench.open();
    assert!(!ledger.refuses_new());
    bench.options.faults.fail_all();
    assert_eq!(bench.store(&ledger, vec![clean(ConnectionId::new())]), [Record::Failed]);
    assert!(ledger.refuses_new() && ledger.health().refuses());
    bench.options.faults.heal();
    until("it is well again", || !ledger.refuses_new());
}

#[test]
fn a_write_that_hangs_is_answered_for() {
    let mut bench = Bench::new();
    bench.options.stall_timeout = Duration::from_millis(100);
    let ledger = bench.open();
    let (release, hangs) = std::sync::mpsc::channel::<()>();
    let mut hangs = Some(hangs);
    bench.options.faults.script(move |moment| {
        if moment == Moment::Before
            && let Some(hangs) = hangs.take()
        {
            let _ = hangs.recv_timeout(SOON);
        }
        Ok(())
    });
    let first = ConnectionId::new();
    let began = Instant::now();
    assert_eq!(bench.store(&ledger, vec![opened(first)]), [Record::Failed]);
    assert!(began.elapsed() >= Duration::from_millis(100));
    let began = Instant::now();
    let second = ConnectionId::new();
    assert_eq!(bench.store(&ledger, vec![clean(first), opened(second)]), [Record::Failed; 2]);
    assert!(began.elapsed() < Duration::from_millis(100), "later appends do not wait for it");
    assert!(matches!(ledger.health(), Health::Failing { .. }));

    release.send(()).unwrap();
    until("it is well again", || ledger.health() == Health::Good);
    assert_eq!(bench.recorder.count(), 3, "nothing is reported twice");
    assert_eq!(bench.texts("SELECT id FROM open_connections"), [second.to_string()]);
}

#[test]
fn a_queue_that_is_full_is_reported_as_lost() {
    let mut bench = Bench::new();
    bench.options.queue_bytes = ByteSize::kib(64);
    let ledger = bench.open();
    let (release, hangs) = std::sync::mpsc::channel::<()>();
    let mut hangs = Some(hangs);
    bench.options.faults.script(move |_| {
        if let Some(hangs) = hangs.take() {
            let _ = hangs.recv_timeout(SOON);
        }
        Ok(())
    });
    // The write hangs for less than the stall timeout, but the queue overflows meanwhile.
    for _ in 0..1000 {
        bench.append(&ledger, clean(ConnectionId::new()));
    }
    until("most is reported", || bench.recorder.count() > 900);
    release.send(()).unwrap();
    bench.recorder.wait_for(1000);
    until("it is well again", || ledger.health() == Health::Good);
    let lost =
        bench.recorder.all().iter().filter(|(_, records)| *records == Record::Failed).count();
    assert_eq!(ledger.unrecorded(), lost as u64);
    assert!(lost > 800, "{lost}");
}

#[test]
fn a_file_that_was_moved_away_is_replaced_by_a_new_one() {
    let bench = Bench::new();
    let ledger = bench.open();
    let (open, ended) = (ConnectionId::new(), ConnectionId::new());
    let records = bench.store(&ledger, vec![opened(open), opened(ended)]);
    let last = records[1].sequence().unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let name = format!("{}{suffix}", bench.path().display());
        std::fs::rename(&name, format!("{name}.away")).unwrap();
    }
    until("there is a new file", || bench.path().exists());
    until("it is well again", || ledger.health() == Health::Good);
    let records = bench.store(&ledger, vec![clean(ended)]);
    assert!(records[0].sequence().unwrap() > last, "numbers go on");
    assert_eq!(bench.texts("SELECT id FROM open_connections"), [open.to_string()]);
    assert!(ledger.after(last, 10).is_ok_and(|replay| replay.endings.len() == 1));
    assert!(ledger.after(0, 10).unwrap().gap, "the new file lacks what was reported before");
}

#[test]
fn another_programs_transaction_passes() {
    let mut bench = Bench::new();
    bench.options.stall_timeout = Duration::from_millis(200);
    let ledger = bench.open();
    let other = bench.look();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(bench.store(&ledger, vec![clean(ConnectionId::new())]), [Record::Failed]);
    let Health::Failing { problem, .. } = ledger.health() else { panic!("it is locked") };
    assert!(problem.contains("another program"), "{problem}");
    other.execute_batch("COMMIT").unwrap();
    until("it is well again", || ledger.health() == Health::Good);
}

#[test]
fn an_ending_that_was_reported_is_not_reported_again_after_a_stop() {
    let bench = Bench::new();
    let ledger = bench.open();
    let ids: Vec<ConnectionId> = (0..500).map(|_| ConnectionId::new()).collect();
    bench.store(&ledger, ids.iter().map(|id| opened(*id)).collect());
    bench.options.faults.fail_all();
    let records = bench.store(&ledger, ids.iter().map(|id| clean(*id)).collect());
    assert_eq!(records, [Record::Failed; 500]);
    ledger.close();
    drop(ledger);
    assert_eq!(bench.number("SELECT count(*) FROM open_connections"), 500, "nothing was removed");

    bench.options.faults.heal();
    let (ledger, died) = bench.recover();
    assert_eq!(died, 0, "their endings are in the log");
    assert_eq!(bench.number("SELECT count(*) FROM open_connections"), 0);
    assert_eq!(bench.number("SELECT count(*) FROM endings"), 0);
    // A mark is removed with its row.
    let id = ConnectionId::new();
    bench.store(&ledger, vec![opened(id)]);
    assert_eq!(bench.after_death().recover().1, 1);
}

#[test]
fn an_ending_that_was_reported_is_not_reported_again_after_a_death() {
    let bench = Bench::new();
    let ledger = bench.open();
    let ids: Vec<ConnectionId> = (0..20).map(|_| ConnectionId::new()).collect();
    bench.store(&ledger, ids.iter().map(|id| opened(*id)).collect());
    bench.options.faults.fail_all();
    // One batch fails while it is written; the ones after it are not tried at all.
    bench.store(&ledger, ids[..3].iter().map(|id| clean(*id)).collect());
    bench.store(&ledger, ids[3..8].iter().map(|id| clean(*id)).collect());
    let died = bench.after_death();
    let (_recovered, count) = died.recover();
    assert_eq!(count, 12, "those that were open");
    let ids: std::collections::HashSet<String> = ids[8..].iter().map(|id| id.to_string()).collect();
    let found = died.texts("SELECT id FROM endings WHERE kind = 'process_died'");
    assert_eq!(found.into_iter().collect::<std::collections::HashSet<_>>(), ids);
}

#[test]
fn it_is_well_again_only_once_there_is_room() {
    let bench = Bench::new();
    let ledger = bench.open();
    let id = ConnectionId::new();
    bench.store(&ledger, vec![opened(id)]);
    bench.options.faults.fail_all();
    assert_eq!(bench.store(&ledger, vec![clean(id)]), [Record::Failed]);
    // The rows of open connections can be corrected, but then nothing else fits.
    let mut tried = 0;
    bench.options.faults.script(move |moment| {
        tried += u32::from(moment == Moment::Before);
        if moment == Moment::Before && tried % 2 == 0 { Err(broken()) } else { Ok(()) }
    });
    until("it was tried", || bench.number("SELECT count(*) FROM open_connections") == 0);
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(10));
        assert!(matches!(ledger.health(), Health::Failing { .. }));
    }
    bench.options.faults.heal();
    until("it is well again", || ledger.health() == Health::Good);
}

#[test]
fn a_thread_that_panics_goes_on() {
    let (send, went_on) = std::sync::mpsc::channel();
    let mut rounds = 0;
    let work = move || {
        rounds += 1;
        assert!(rounds > 1, "a test asked for it");
        send.send(rounds).unwrap();
    };
    crate::ledger::sqlite::spawn("ledger-test", work).unwrap();
    assert_eq!(went_on.recv_timeout(std::time::Duration::from_secs(10)), Ok(2));
}
