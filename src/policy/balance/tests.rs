//! Instances that come, fail, return and drain, without a clock or a socket.

mod changing;
mod ejecting;
mod observations;
mod properties;

use super::*;
use crate::vocabulary::BackendState;

const HALF_A_MINUTE: Duration = Duration::from_secs(30);

/// Ejects after five failures for half a minute.
fn ejection() -> Ejection {
    Ejection { after: NonZeroU32::new(5).unwrap(), lasting: HALF_A_MINUTE }
}

fn pool(len: usize, balance: Balance) -> Pool {
    let keys: Vec<u64> = (0..len as u64).collect();
    Pool::new(&keys, balance, Some(ejection()))
}

/// Chooses for a client that is in no hurry to leave.
fn enter(pool: &mut Pool, now: Instant) -> usize {
    pool.choose(now, None, &[]).unwrap().instance()
}

/// Chooses this instance and no other.
fn choose(pool: &mut Pool, now: Instant, n: usize) -> Choice {
    let others: Vec<_> = (0..pool.instances.len()).filter(|other| *other != n).collect();
    pool.choose(now, None, &others).unwrap()
}

/// Shows this observation by one client of this instance, so many times in a row.
fn show(
    pool: &mut Pool,
    now: Instant,
    n: usize,
    observation: Observation,
    times: u32,
) -> Vec<Change> {
    let mut changes = Vec::new();
    for _ in 0..times {
        let choice = choose(pool, now, n);
        changes.extend(pool.report(&choice, now, observation));
        pool.release(choice);
    }
    changes
}

fn eject(pool: &mut Pool, now: Instant, n: usize) {
    let changes = show(pool, now, n, Observation::Unanswered, 5);
    let ejected = matches!(changes[..], [Change::Ejected { instance, .. }] if instance == n);
    assert!(ejected, "{changes:?}");
}

fn words(pool: &Pool, now: Instant) -> Vec<&'static str> {
    pool.view(now).iter().map(|at| BackendState::from(at.state).as_str()).collect()
}

#[test]
fn an_address_stays_where_it_is_while_that_serves() {
    let now = Instant::now();
    let mut pool = pool(4, Balance::ClientAddress);
    let address = |n: u8| Some(IpAddr::from([10, 0, 0, n]));
    let homes = |pool: &mut Pool| -> Vec<usize> {
        (0..200).map(|n| pool.choose(now, address(n), &[]).unwrap().instance()).collect()
    };
    let before = homes(&mut pool);
    assert_eq!(homes(&mut pool), before);
    for n in 0..4 {
        let share = before.iter().filter(|home| **home == n).count();
        assert!((25..=75).contains(&share), "{n} has {share} of 200");
    }
    eject(&mut pool, now, 2);
    for (was, is) in before.iter().zip(homes(&mut pool)) {
        assert!(if *was == 2 { is != 2 } else { is == *was }, "{was} moved to {is}");
    }
    // A client without an address has its turn, and one that has tried its own another.
    assert_eq!((0..3).map(|_| enter(&mut pool, now)).filter(|home| *home == 2).count(), 0);
    let other = pool.choose(now, address(7), &[before[7]]).unwrap();
    assert_ne!(other.instance(), before[7]);
}

#[test]
fn the_affinity_of_an_address_never_changes() {
    // A rolling upgrade must not move clients: these values hold for every release.
    let affinity = |client: &str, n| affinity(client.parse().unwrap(), n);
    assert_eq!(affinity("203.0.113.9", 0), 0xc15d_f466_bf80_92f5);
    assert_eq!(affinity("203.0.113.9", 1), 0x3939_a2c5_91bc_5cd6);
    assert_eq!(affinity("2001:db8::7", 0), 0x7f3c_cba3_4787_57dd);
    assert_eq!(affinity("::ffff:203.0.113.9", 1), affinity("203.0.113.9", 1));
}

#[test]
fn clients_go_round() {
    let now = Instant::now();
    let mut pool = pool(3, Balance::RoundRobin);
    let chosen: Vec<_> = (0..7).map(|_| enter(&mut pool, now)).collect();
    assert_eq!(chosen, [0, 1, 2, 0, 1, 2, 0]);
}

#[test]
fn the_neighbour_of_one_that_is_out_gets_no_more_than_the_others() {
    let now = Instant::now();
    let mut pool = pool(4, Balance::RoundRobin);
    pool.drain(1).unwrap();
    let chosen: Vec<_> = (0..7).map(|_| enter(&mut pool, now)).collect();
    assert_eq!(chosen, [0, 2, 3, 0, 2, 3, 0]);
}

#[test]
fn the_fewest_connections_win_and_equals_take_turns() {
    let now = Instant::now();
    let mut pool = pool(3, Balance::LeastConnections);
    let mut choices: Vec<_> = (0..6).map(|_| pool.choose(now, None, &[]).unwrap()).collect();
    assert_eq!(choices.iter().map(Choice::instance).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
    // Instance 1 loses both of its connections, instance 2 one.
    for place in [4, 2, 1] {
        pool.release(choices.remove(place));
    }
    let chosen: Vec<_> = (0..5).map(|_| enter(&mut pool, now)).collect();
    assert_eq!(chosen, [1, 2, 1, 0, 2]);
}

#[test]
fn a_client_is_not_sent_where_it_was() {
    let now = Instant::now();
    let mut pool = pool(3, Balance::RoundRobin);
    let mut tried = Vec::new();
    for _ in 0..3 {
        tried.push(pool.choose(now, None, &tried).unwrap().instance());
    }
    assert_eq!(tried, [0, 1, 2]);
    assert_eq!(pool.choose(now, None, &tried), Err(NoApplication::Exhausted));
    // What is not chosen is not counted.
    assert_eq!(pool.view(now).iter().map(|at| at.chosen).collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn one_that_drains_gets_nobody_and_keeps_count_of_whom_it_has() {
    let now = Instant::now();
    let mut pool = pool(2, Balance::LeastConnections);
    let first = choose(&mut pool, now, 0);
    let second = choose(&mut pool, now, 0);
    assert_eq!(pool.drain(0), Ok(Some(Change::Draining { instance: 0 })));
    assert_eq!(pool.drain(0), Ok(None));
    assert!((0..5).all(|_| enter(&mut pool, now) == 1));
    assert_eq!(pool.choose(now, None, &[1]), Err(NoApplication::Exhausted));
    pool.release(first);
    assert_eq!(pool.view(now)[0].connections, 1);
    pool.release(second);
    assert_eq!(pool.view(now)[0].connections, 0);

    pool.drain(1).unwrap();
    assert_eq!(pool.choose(now, None, &[]), Err(NoApplication::AllDraining));
    assert_eq!(pool.choose(now, None, &[0, 1]), Err(NoApplication::AllDraining));

    assert_eq!(pool.resume(0), Ok(Some(Change::Resumed { instance: 0 })));
    assert_eq!(pool.resume(0), Ok(None));
    assert_eq!(enter(&mut pool, now), 0);
}

#[test]
fn one_that_is_resumed_begins_anew() {
    let now = Instant::now();
    let mut pool = pool(2, Balance::RoundRobin);
    eject(&mut pool, now, 0);
    pool.drain(0).unwrap();
    assert_eq!((words(&pool, now), pool.poll_deadline()), (vec!["draining", "serving"], None));
    pool.resume(0).unwrap();
    // It is not on probation.
    assert_eq!(show(&mut pool, now, 0, Observation::Unanswered, 4), []);
    assert_eq!(words(&pool, now), ["serving", "serving"]);
}

#[test]
fn what_its_predecessor_left_is_not_held_against_it() {
    let now = Instant::now();
    let mut pool = pool(2, Balance::RoundRobin);
    let old: Vec<_> = (0..9).map(|_| choose(&mut pool, now, 0)).collect();
    pool.drain(0).unwrap();
    pool.resume(0).unwrap();
    for choice in &old {
        assert_eq!(pool.report(choice, now, Observation::BrokenOff), []);
    }
    assert_eq!(pool.view(now)[0].failures, 0);
}

#[test]
fn an_unhealthy_one_gets_nobody_until_it_is_healthy() {
    let now = Instant::now();
    let mut pool = pool(2, Balance::RoundRobin);
    assert_eq!(pool.probed(0, true), Ok(None));
    assert_eq!(pool.probed(0, false), Ok(Some(Change::Unhealthy { instance: 0 })));
    assert_eq!(pool.probed(0, false), Ok(None));
    assert!((0..5).all(|_| enter(&mut pool, now) == 1));
    assert_eq!(words(&pool, now), ["unhealthy", "serving"]);
    assert_eq!(pool.probed(0, true), Ok(Some(Change::Healthy { instance: 0 })));
    assert_eq!(enter(&mut pool, now), 0);
}

#[test]
fn health_and_ejection_are_apart() {
    let now = Instant::now();
    let mut pool = pool(2, Balance::RoundRobin);
    eject(&mut pool, now, 0);
    pool.probed(0, false).unwrap();
    pool.probed(0, true).unwrap();
    assert_eq!(words(&pool, now), ["ejected", "serving"]);
    pool.probed(0, false).unwrap();
    let later = now + HALF_A_MINUTE;
    assert_eq!(pool.handle_deadline(later), [Change::Returned { instance: 0 }]);
    assert_eq!(words(&pool, later), ["unhealthy", "serving"]);
    // Bad answers to probes are no failures in the row.
    assert_eq!(pool.view(later)[1].failures, 0);
}

#[test]
fn where_nothing_is_good_anything_that_does_not_drain_will_do() {
    let now = Instant::now();
    let mut pool = pool(3, Balance::RoundRobin);
    eject(&mut pool, now, 0);
    pool.probed(1, false).unwrap();
    let only = pool.choose(now, None, &[]).unwrap();
    assert_eq!((only.instance(), words(&pool, now)[2]), (2, "serving"));
    // The good one was tried in vain.
    let second = pool.choose(now, None, &[2]).unwrap();
    assert_eq!((second.instance(), words(&pool, now)[1]), (1, "unhealthy"));
    pool.drain(2).unwrap();
    let mut chosen: Vec<_> = (0..4).map(|_| enter(&mut pool, now)).collect();
    chosen.sort_unstable();
    assert_eq!(chosen, [0, 0, 1, 1]);
    assert_eq!(pool.choose(now, None, &[0, 1]), Err(NoApplication::Exhausted));
}

#[test]
fn what_is_not_there_cannot_be_drained_resumed_or_probed() {
    let mut pool = pool(2, Balance::RoundRobin);
    let none = Err(NoInstance { instance: 2, len: 2 });
    assert_eq!([pool.drain(2), pool.resume(2), pool.probed(2, true)], [none; 3]);
}
