//! Instances that are added and retired while others keep what they have.

use super::*;

fn stays(n: usize) -> Succession {
    Succession { stays: Some(n), key: 0 }
}

fn new(key: u64) -> Succession {
    Succession { stays: None, key }
}

#[test]
fn one_that_stays_keeps_its_state_and_its_connections() {
    let now = Instant::now();
    let mut pool = pool(3, Balance::LeastConnections);
    eject(&mut pool, now, 0);
    let held = choose(&mut pool, now, 1);
    pool.drain(2).unwrap();
    // The order changes, and one is new.
    let order = [stays(2), stays(0), new(9), stays(1)];
    let numbers = pool.change(Balance::LeastConnections, Some(ejection()), &order);
    assert_eq!(numbers, [2, 0, 3, 1]);
    assert_eq!(words(&pool, now), ["ejected", "serving", "draining", "serving"]);
    assert_eq!(enter(&mut pool, now), 3, "the new one has the fewest");
    pool.release(held);
    assert_eq!(pool.view(now)[1].connections, 0);
}

#[test]
fn one_that_is_retired_gets_no_clients_and_its_last_ones_still_count() {
    let now = Instant::now();
    let mut pool = pool(2, Balance::RoundRobin);
    let held = choose(&mut pool, now, 0);
    assert_eq!(pool.change(Balance::RoundRobin, None, &[stays(1)]), [1]);
    assert!(pool.is_draining(&held), "a connection that opens now is closed");
    for _ in 0..3 {
        assert_eq!(enter(&mut pool, now), 1);
    }
    // Its place is taken only once it is empty.
    assert_eq!(pool.change(Balance::RoundRobin, None, &[stays(1), new(7)]), [1, 2]);
    assert!(pool.report(&held, now, Observation::BrokenOff).is_empty());
    pool.release(held);
    assert_eq!(pool.view(now)[0].connections, 0);
    assert_eq!(pool.change(Balance::RoundRobin, None, &[stays(1), stays(2), new(8)]), [1, 2, 0]);
    assert_eq!(words(&pool, now), ["serving", "serving", "serving"]);
}

#[test]
fn a_hundred_changes_leave_no_more_places_than_there_are_instances() {
    let now = Instant::now();
    let mut pool = pool(2, Balance::RoundRobin);
    let mut last = 1;
    for key in 0..100 {
        let numbers = pool.change(Balance::RoundRobin, None, &[stays(last), new(key)]);
        last = numbers[1];
        let choice = pool.choose(now, None, &[]).unwrap();
        pool.release(choice);
    }
    assert_eq!(pool.instances.len(), 2);
}

#[test]
fn without_ejection_the_ejected_return() {
    let now = Instant::now();
    let mut pool = pool(2, Balance::RoundRobin);
    eject(&mut pool, now, 1);
    pool.change(Balance::RoundRobin, None, &[stays(0), stays(1)]);
    assert_eq!(words(&pool, now), ["serving", "serving"]);
    assert_eq!(pool.poll_deadline(), None);
}

#[test]
fn only_the_clients_of_one_that_goes_move() {
    let now = Instant::now();
    let keys = [11, 22, 33, 44];
    let mut pool = Pool::new(&keys, Balance::ClientAddress, None);
    let clients: Vec<IpAddr> = (0..200_u8).map(|n| IpAddr::from([192, 0, 2, n])).collect();
    let place = |pool: &mut Pool, client: &IpAddr| {
        let choice = pool.choose(now, Some(*client), &[]).unwrap();
        let instance = choice.instance();
        pool.release(choice);
        instance
    };
    let before: Vec<usize> = clients.iter().map(|client| place(&mut pool, client)).collect();
    pool.change(Balance::ClientAddress, None, &[stays(1), stays(2), stays(3)]);
    for (client, before) in clients.iter().zip(&before) {
        let after = place(&mut pool, client);
        assert!(after == *before || *before == 0, "{client} was moved from {before} to {after}");
    }
    // It returns to the same place in the ranks.
    pool.change(Balance::ClientAddress, None, &[new(11), stays(1), stays(2), stays(3)]);
    let after: Vec<usize> = clients.iter().map(|client| place(&mut pool, client)).collect();
    assert_eq!(after, before);
}
