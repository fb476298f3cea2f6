//! Ejections: when, for how long, how many, and what follows.

use super::*;

#[test]
fn five_failures_in_a_row_eject_for_half_a_minute() {
    let now = Instant::now();
    let mut pool = pool(2, Balance::RoundRobin);
    assert_eq!(show(&mut pool, now, 0, Observation::Unanswered, 4), []);
    let until = now + HALF_A_MINUTE;
    let ejected =
        Change::Ejected { instance: 0, observation: Observation::Unanswered, failures: 5, until };
    assert_eq!(show(&mut pool, now, 0, Observation::Unanswered, 1), [ejected]);
    assert!((0..5).all(|_| enter(&mut pool, now) == 1));
    assert_eq!(pool.poll_deadline(), Some(until));
    let view = pool.view(now)[0];
    assert_eq!(view.state, InstanceState::Ejected { until });
    assert_eq!((view.failures, view.ejections, view.chosen), (5, 1, 5));

    let before = until - Duration::from_nanos(1);
    assert_eq!(pool.handle_deadline(before), []);
    assert_eq!(enter(&mut pool, before), 1);
    // It serves when its time is over, also before anybody is told.
    assert_eq!(words(&pool, until), ["serving", "serving"]);
    assert_eq!(enter(&mut pool, until), 0);
    assert_eq!(pool.handle_deadline(until), [Change::Returned { instance: 0 }]);
    assert_eq!((pool.handle_deadline(until), pool.poll_deadline()), (vec![], None));
}

#[test]
fn a_sound_sign_ends_the_row_of_its_own_sort_only() {
    let now = Instant::now();
    for (failure, sound, other) in [
        (Observation::Unanswered, Observation::Answered, Observation::Kept),
        (Observation::BrokenOff, Observation::Kept, Observation::Answered),
    ] {
        let mut pool = pool(2, Balance::RoundRobin);
        show(&mut pool, now, 0, failure, 4);
        show(&mut pool, now, 0, sound, 1);
        assert_eq!(pool.view(now)[0].failures, 0);
        show(&mut pool, now, 0, failure, 4);
        show(&mut pool, now, 0, other, 9);
        assert_eq!(show(&mut pool, now, 0, failure, 1).len(), 1, "{failure}");
    }
}

#[test]
fn one_that_accepts_everybody_and_drops_everybody_is_ejected() {
    let now = Instant::now();
    let mut pool = pool(2, Balance::LeastConnections);
    let mut changes = Vec::new();
    for _ in 0..5 {
        let choice = choose(&mut pool, now, 0);
        changes.extend(pool.report(&choice, now, Observation::Answered));
        changes.extend(pool.report(&choice, now, Observation::BrokenOff));
        pool.release(choice);
    }
    assert!(
        matches!(changes[..], [Change::Ejected { observation: Observation::BrokenOff, .. }]),
        "{changes:?}"
    );
}

#[test]
fn on_probation_the_first_failure_ejects_anew() {
    let now = Instant::now();
    let mut pool = pool(2, Balance::RoundRobin);
    eject(&mut pool, now, 0);
    let later = now + HALF_A_MINUTE;
    let until = later + HALF_A_MINUTE;
    // Nobody was told of its return yet.
    let changes = show(&mut pool, later, 0, Observation::BrokenOff, 1);
    let ejected =
        Change::Ejected { instance: 0, observation: Observation::BrokenOff, failures: 5, until };
    assert_eq!(changes, [Change::Returned { instance: 0 }, ejected]);
    assert_eq!(pool.view(later)[0].ejections, 2);
}

#[test]
fn on_probation_a_sound_sign_clears_it() {
    let now = Instant::now();
    let mut pool = pool(2, Balance::RoundRobin);
    eject(&mut pool, now, 0);
    let later = now + HALF_A_MINUTE;
    // One of the other sort neither clears nor ejects it.
    assert_eq!(show(&mut pool, later, 0, Observation::Kept, 1), [Change::Returned { instance: 0 }]);
    assert_eq!(pool.view(later)[0].failures, 5);
    assert_eq!(show(&mut pool, later, 0, Observation::Answered, 1), []);
    assert_eq!(show(&mut pool, later, 0, Observation::Unanswered, 4), []);
    assert_eq!(show(&mut pool, later, 0, Observation::Unanswered, 1).len(), 1);
}

#[test]
fn a_crash_that_breaks_off_many_connections_is_one_crash() {
    let now = Instant::now();
    let mut pool = pool(2, Balance::RoundRobin);
    let mut legs: Vec<_> = (0..1000).map(|_| choose(&mut pool, now, 0)).collect();
    let fall = |pool: &mut Pool, legs: Vec<Choice>, now| {
        let mut changes = Vec::new();
        for leg in legs {
            changes.extend(pool.report(&leg, now, Observation::BrokenOff));
            pool.release(leg);
        }
        changes
    };
    let silent = legs.split_off(500);
    assert_eq!(fall(&mut pool, legs, now).len(), 1);
    // Half of them are found out only when it has returned.
    let later = now + HALF_A_MINUTE;
    pool.handle_deadline(later);
    assert_eq!(fall(&mut pool, silent, later), []);
    assert_eq!(words(&pool, later), ["serving", "serving"]);
    assert_eq!(pool.view(later)[0].connections, 0);
}

#[test]
fn a_client_sent_there_for_want_of_others_can_spare_it_the_probation() {
    let now = Instant::now();
    let mut pool = pool(2, Balance::RoundRobin);
    eject(&mut pool, now, 0);
    // It neither returns early nor is it ejected for longer.
    assert_eq!(show(&mut pool, now, 0, Observation::Unanswered, 7), []);
    assert_eq!(show(&mut pool, now, 0, Observation::Answered, 1), []);
    assert_eq!(words(&pool, now), ["ejected", "serving"]);
    let later = now + HALF_A_MINUTE;
    pool.handle_deadline(later);
    assert_eq!(show(&mut pool, later, 0, Observation::Unanswered, 4), []);
}

#[test]
fn the_only_one_is_never_ejected() {
    let now = Instant::now();
    let mut pool = pool(1, Balance::RoundRobin);
    let spared = Change::Spared { instance: 0, observation: Observation::Unanswered, failures: 5 };
    assert_eq!(show(&mut pool, now, 0, Observation::Unanswered, 50), [spared]);
    assert_eq!((words(&pool, now), enter(&mut pool, now)), (vec!["serving"], 0));
    // It is told again when it fails again.
    show(&mut pool, now, 0, Observation::Answered, 1);
    assert_eq!(show(&mut pool, now, 0, Observation::Unanswered, 50), [spared]);
}

#[test]
fn one_that_is_spared_is_ejected_by_its_next_failure_once_there_is_room() {
    let now = Instant::now();
    let mut pool = pool(3, Balance::RoundRobin);
    eject(&mut pool, now, 0);
    let changes = show(&mut pool, now, 1, Observation::BrokenOff, 8);
    assert!(matches!(changes[..], [Change::Spared { instance: 1, .. }]), "{changes:?}");
    let later = now + HALF_A_MINUTE;
    assert_eq!(pool.handle_deadline(later), [Change::Returned { instance: 0 }]);
    assert_eq!(words(&pool, later), ["serving", "serving", "serving"]);
    let changes = show(&mut pool, later, 1, Observation::BrokenOff, 1);
    assert!(matches!(changes[..], [Change::Ejected { instance: 1, failures: 9, .. }]));
    // On probation, too, it is told that one is spared, and anew after an ejection.
    let changes = show(&mut pool, later, 0, Observation::Unanswered, 3);
    assert!(matches!(changes[..], [Change::Spared { instance: 0, failures: 6, .. }]));
    let much_later = later + HALF_A_MINUTE;
    eject_one_more(&mut pool, much_later, 0);
    let changes = show(&mut pool, much_later, 1, Observation::BrokenOff, 3);
    assert!(
        matches!(changes[..], [Change::Returned { .. }, Change::Spared { instance: 1, .. }]),
        "{changes:?}"
    );
}

/// Ejects one that has failed too often already.
fn eject_one_more(pool: &mut Pool, now: Instant, n: usize) {
    let changes = show(pool, now, n, Observation::Unanswered, 1);
    assert!(matches!(changes[..], [Change::Ejected { .. }]), "{changes:?}");
}

#[test]
fn half_is_half_of_those_that_do_not_drain() {
    let now = Instant::now();
    let mut pool = pool(4, Balance::RoundRobin);
    pool.drain(3).unwrap();
    eject(&mut pool, now, 0);
    let changes = show(&mut pool, now, 1, Observation::Unanswered, 5);
    assert!(matches!(changes[..], [Change::Spared { instance: 1, .. }]), "{changes:?}");
    pool.resume(3).unwrap();
    assert_eq!(show(&mut pool, now, 1, Observation::Unanswered, 1).len(), 1);
    assert_eq!(words(&pool, now), ["ejected", "ejected", "serving", "serving"]);
}

#[test]
fn one_that_drains_is_held_responsible_for_nothing() {
    let now = Instant::now();
    let mut pool = pool(2, Balance::RoundRobin);
    let leg = choose(&mut pool, now, 0);
    pool.drain(0).unwrap();
    for _ in 0..9 {
        assert_eq!(pool.report(&leg, now, Observation::BrokenOff), []);
    }
    assert_eq!(pool.view(now)[0].failures, 0);
}

#[test]
fn without_settings_nothing_is_ejected() {
    let now = Instant::now();
    let mut pool = Pool::new(&[0, 1], Balance::RoundRobin, None);
    assert_eq!(show(&mut pool, now, 0, Observation::Unanswered, 50), []);
    assert_eq!((pool.view(now)[0].failures, words(&pool, now)[0]), (50, "serving"));
}

#[test]
fn the_longest_ejection_fits_into_the_clock() {
    let now = Instant::now();
    let forever = Ejection { lasting: Duration::MAX, ..ejection() };
    let mut pool = Pool::new(&[0, 1], Balance::RoundRobin, Some(forever));
    eject(&mut pool, now, 0);
    assert!(pool.poll_deadline() > Some(now + HALF_A_MINUTE));
}
