//! Revocations on the disk.

use super::*;
use crate::vocabulary::{Requester, Revocation, RevocationChange, RevocationTarget};

/// A time as the ledger keeps it: in milliseconds.
fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000 + seconds)
}

fn of_subject(number: u64, subject: &str) -> Revocation {
    let subject = subject.to_owned();
    Revocation {
        number,
        target: RevocationTarget::Subject { subject, issued_before: Some(at(5)) },
        created_at: at(10),
        expires_at: Some(at(20)),
        by: Some(Requester::Api("ops".into())),
    }
}

fn of_token(number: u64, id: &str) -> Revocation {
    Revocation {
        number,
        target: RevocationTarget::Token { id: id.to_owned() },
        created_at: at(10),
        expires_at: None,
        by: None,
    }
}

fn made(revocation: &Revocation) -> Entry {
    Entry::Revocation(RevocationChange::Made(Arc::new(revocation.clone())))
}

fn withdrawn(revocation: &Revocation) -> Entry {
    let (revocation, at) = (Arc::new(revocation.clone()), at(15));
    Entry::Revocation(RevocationChange::Withdrawn { revocation, at })
}

fn recorded(ledger: &Sqlite) -> (u64, Vec<Revocation>) {
    let RecordedRevocations { last, revocations } = ledger.revocations().unwrap();
    (last, revocations.iter().map(|revocation| Revocation::clone(revocation)).collect())
}

#[test]
fn they_survive_the_death_of_the_process_whole() {
    let bench = Bench::new();
    let ledger = bench.open();
    let (ann, token) = (of_subject(1, "ann"), of_token(2, "t1"));
    let records = bench.store(&ledger, vec![made(&ann), made(&token)]);
    assert!(records.iter().all(|record| matches!(record, Record::Durable(_))), "{records:?}");
    let after = bench.after_death();
    assert_eq!(recorded(&after.open()), (2, vec![ann, token]));
}

#[test]
fn one_that_was_withdrawn_is_gone_and_its_number_is_not_reused() {
    let bench = Bench::new();
    let ledger = bench.open();
    let (ann, bob) = (of_subject(6, "ann"), of_subject(7, "bob"));
    bench.store(&ledger, vec![made(&ann), made(&bob), withdrawn(&bob)]);
    let after = bench.after_death();
    assert_eq!(recorded(&after.open()), (7, vec![ann]));
}

#[test]
fn one_that_could_not_be_stored_takes_no_effect_later() {
    let bench = Bench::new();
    let ledger = bench.open();
    let (ann, bob, token) = (of_subject(1, "ann"), of_subject(2, "bob"), of_token(3, "t1"));
    bench.store(&ledger, vec![made(&ann)]);
    // The error comes after the commit, so the rows are in the file.
    bench.options.faults.script(|moment| match moment {
        Moment::Before => Ok(()),
        Moment::After => Err(broken()),
    });
    assert_eq!(bench.store(&ledger, vec![made(&bob), withdrawn(&ann)]), [Record::Failed; 2]);
    assert_eq!(recorded(&ledger), (1, vec![ann.clone()]));
    bench.options.faults.heal();
    until("the ledger has recovered", || ledger.health() == Health::Good);
    bench.store(&ledger, vec![made(&token)]);
    let after = bench.after_death();
    assert_eq!(recorded(&after.open()), (3, vec![ann, token]));
}

#[test]
fn one_that_has_expired_is_removed_from_the_file() {
    let bench = Bench::new();
    let ledger = bench.open();
    let expires_at = Some(SystemTime::now() + Duration::from_millis(300));
    let brief = Revocation { expires_at, ..of_subject(1, "ann") };
    let token = of_token(2, "t1");
    bench.store(&ledger, vec![made(&brief), made(&token)]);
    assert_eq!(bench.number("SELECT count(*) FROM revocations"), 2);
    until("the row is gone", || bench.number("SELECT count(*) FROM revocations") == 1);
    assert_eq!(recorded(&ledger), (2, vec![token]));
}

#[test]
fn they_do_not_push_endings_out() {
    let mut bench = Bench::new();
    bench.options.max_size = ByteSize::mib(4);
    let ledger = bench.open();
    let (id, old) = (ConnectionId::new(), ConnectionId::new());
    let mut ended = ending(old, Kind::Clean, origin("203.0.113.9:51342"));
    ended.ended_at -= bench.options.retention + Duration::from_secs(60);
    let subject = "s".repeat(240);
    let all = (1..=15_000).map(|number| made(&of_token(number, &format!("{subject}{number}"))));
    let ended = Entry::Ended(Arc::new(ended));
    let entries = [ended, clean(id)].into_iter().chain(all).collect();
    bench.store(&ledger, entries);
    let stored = |id| ledger.ending(ConnectionName::Id(id)).unwrap().is_some();
    until("retention has removed what is too old", || !stored(old));
    assert!(stored(id));
}
