use std::time::Duration;

use super::*;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn of_subject(subject: &str, issued_before: Option<u64>) -> RevocationTarget {
    let issued_before = issued_before.map(at);
    RevocationTarget::Subject { subject: subject.to_owned(), issued_before }
}

fn of_token(id: &str) -> RevocationTarget {
    RevocationTarget::Token { id: id.to_owned() }
}

fn known_by<'a>(
    subject: Option<&'a str>,
    token_id: Option<&'a str>,
    issued_at: u64,
) -> Credentials<'a> {
    Credentials { subject, token_id, issued_at: at(issued_at) }
}

/// Makes a revocation at second 100; returns its number.
fn make(all: &mut Revocations, target: RevocationTarget, expires_at: Option<u64>) -> u64 {
    let number = all.reserve(at(100)).unwrap();
    let expires_at = expires_at.map(at);
    let revocation = Revocation { number, target, created_at: at(100), expires_at, by: None };
    all.add(Arc::new(revocation));
    number
}

fn found(all: &Revocations, credentials: Credentials<'_>, now: u64) -> Option<u64> {
    all.find(&credentials, at(now)).map(|revocation| revocation.number)
}

#[test]
fn a_subject_is_revoked_whenever_its_token_was_issued() {
    let mut all = Revocations::new(10);
    let number = make(&mut all, of_subject("ann", None), None);
    for issued_at in [0, 100, 10_000] {
        assert_eq!(found(&all, known_by(Some("ann"), None, issued_at), 10_000), Some(number));
    }
    assert_eq!(found(&all, known_by(Some("bob"), None, 0), 100), None);
    assert_eq!(found(&all, known_by(None, Some("ann"), 0), 100), None, "ann is no token");
}

#[test]
fn only_what_was_issued_before_the_time_is_revoked() {
    let mut all = Revocations::new(10);
    let number = make(&mut all, of_subject("ann", Some(50)), None);
    assert_eq!(found(&all, known_by(Some("ann"), None, 49), 100), Some(number));
    assert_eq!(found(&all, known_by(Some("ann"), None, 50), 100), None);
    assert_eq!(found(&all, known_by(Some("bob"), None, 49), 100), None);
}

#[test]
fn a_token_is_revoked_by_its_id_whoever_its_subject_is() {
    let mut all = Revocations::new(10);
    let number = make(&mut all, of_token("t1"), None);
    assert_eq!(found(&all, known_by(Some("ann"), Some("t1"), 500), 100), Some(number));
    assert_eq!(found(&all, known_by(None, Some("t1"), 500), 100), Some(number));
    assert_eq!(found(&all, known_by(Some("t1"), Some("t2"), 0), 100), None, "t1 is no subject");
}

#[test]
fn of_several_any_that_applies_is_found() {
    let mut all = Revocations::new(10);
    make(&mut all, of_subject("ann", Some(50)), None);
    let later = make(&mut all, of_subject("ann", Some(80)), None);
    let token = make(&mut all, of_token("t1"), None);
    assert_eq!(found(&all, known_by(Some("ann"), None, 60), 100), Some(later));
    assert_eq!(found(&all, known_by(Some("ann"), Some("t1"), 90), 100), Some(token));
    assert_eq!(all.remove(later).map(|revocation| revocation.number), Some(later));
    assert_eq!(found(&all, known_by(Some("ann"), None, 60), 100), None);
}

#[test]
fn one_that_has_expired_applies_no_longer_and_makes_room() {
    let mut all = Revocations::new(2);
    let brief = make(&mut all, of_subject("ann", None), Some(200));
    let lasting = make(&mut all, of_subject("bob", None), None);
    assert_eq!(found(&all, known_by(Some("ann"), None, 0), 199), Some(brief));
    assert_eq!(found(&all, known_by(Some("ann"), None, 0), 200), None);
    assert!(all.get(brief, at(199)).is_some() && all.get(brief, at(200)).is_none());
    assert_eq!(all.reserve(at(199)), Err(TooManyRevocations { limit: 2 }));
    assert_eq!(all.reserve(at(200)), Ok(lasting + 1));
    let left: Vec<u64> = all.in_force(at(0)).map(|revocation| revocation.number).collect();
    assert_eq!(left, [lasting]);
}

#[test]
fn those_that_are_being_recorded_count_towards_the_limit() {
    let mut all = Revocations::new(1);
    assert_eq!(all.reserve(at(0)), Ok(1));
    assert_eq!(all.reserve(at(0)), Err(TooManyRevocations { limit: 1 }));
    all.release();
    assert_eq!(all.reserve(at(0)), Ok(2), "a number is never assigned twice");
}

#[test]
fn what_a_ledger_recorded_applies_and_its_numbers_are_not_reused() {
    let mut all = Revocations::new(1);
    let recorded = [3, 5].map(|number| {
        let target = of_subject(&format!("s{number}"), None);
        Arc::new(Revocation { number, target, created_at: at(0), expires_at: None, by: None })
    });
    all.restore(9, recorded);
    assert_eq!(found(&all, known_by(Some("s3"), None, 0), 100), Some(3));
    assert_eq!(all.reserve(at(0)), Err(TooManyRevocations { limit: 1 }));
    all.remove(3);
    all.remove(5);
    assert_eq!(all.reserve(at(0)), Ok(10));
}

#[test]
fn nothing_is_left_of_those_that_are_gone() {
    let mut all = Revocations::new(1000);
    for n in 0..300 {
        make(&mut all, of_subject(&format!("s{n}"), None), Some(200 + n));
        make(&mut all, of_token(&format!("t{n}")), None);
    }
    all.expire(at(1000));
    let tokens: Vec<u64> = all.in_force(at(0)).map(|revocation| revocation.number).collect();
    assert_eq!(tokens.len(), 300);
    tokens.into_iter().for_each(|number| drop(all.remove(number)));
    let Revocations { by_number, by_subject, by_token, expiries, .. } = &all;
    assert!(by_number.is_empty() && by_subject.is_empty() && by_token.is_empty());
    assert!(expiries.is_empty());
}
