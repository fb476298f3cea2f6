use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::*;

const HERE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
const THERE: Option<IpAddr> = Some(IpAddr::V6(Ipv6Addr::LOCALHOST));

fn refusal(result: Result<(), NotAdmitted>) -> &'static str {
    result.unwrap_err().limit.name
}

fn v6(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

#[test]
fn numbers_are_counted_over_the_node_and_by_address() {
    let now = Instant::now();
    let limits =
        AdmissionLimits { max_connections: 3, max_connections_per_ip: 2, ..Default::default() };
    let mut admission = Admission::new(limits, now);
    admission.admit(now, HERE).unwrap();
    admission.admit(now, HERE).unwrap();
    assert_eq!(refusal(admission.admit(now, HERE)), "max_connections_per_ip");
    admission.admit(now, THERE).unwrap();
    assert_eq!(refusal(admission.admit(now, THERE)), "max_connections");
    admission.release(HERE);
    admission.admit(now, HERE).unwrap();
    for ip in [HERE, HERE, THERE] {
        admission.release(ip);
    }
    assert!(admission.connections() == 0 && admission.connections_by_ip.is_empty());
}

#[test]
fn an_ipv6_network_counts_as_one_address() {
    let now = Instant::now();
    let (one, same, other) = (v6("2001:db8::1"), v6("2001:db8::ffff:1:2"), v6("2001:db8:0:1::1"));
    let limits = AdmissionLimits { max_connections_per_ip: 1, ..Default::default() };
    let mut admission = Admission::new(limits, now);
    admission.admit(now, one).unwrap();
    assert_eq!(refusal(admission.admit(now, same)), "max_connections_per_ip");
    admission.admit(now, other).unwrap();
    admission.release(one);
    admission.admit(now, same).unwrap();

    let limits = AdmissionLimits { accept_rate_per_ip: 1, ..Default::default() };
    let mut admission = Admission::new(limits, now);
    admission.admit(now, one).unwrap();
    assert_eq!(refusal(admission.admit(now, same)), "accept_rate_per_ip");
    admission.admit(now, other).unwrap();

    let limits = AdmissionLimits { half_open_per_ip: 1, ..Default::default() };
    let mut admission = Admission::new(limits, now);
    admission.begin_half_open(one.unwrap()).unwrap();
    assert_eq!(refusal(admission.begin_half_open(same.unwrap())), "half_open_per_ip");
    admission.begin_half_open(other.unwrap()).unwrap();
    admission.end_half_open(same.unwrap());
    admission.begin_half_open(one.unwrap()).unwrap();
}

#[test]
fn rates_come_back_with_time_and_who_is_too_fast_costs_others_nothing() {
    let now = Instant::now();
    let limits =
        AdmissionLimits { handshakes_per_second: 2, accept_rate_per_ip: 1, ..Default::default() };
    let mut admission = Admission::new(limits, now);
    admission.admit(now, HERE).unwrap();
    for _ in 0..10 {
        assert_eq!(refusal(admission.admit(now, HERE)), "accept_rate_per_ip");
    }
    admission.admit(now, THERE).unwrap();
    assert_eq!(refusal(admission.admit(now, v6("2001:db8::1"))), "handshakes_per_second");
    admission.admit(now + Duration::from_secs(1), HERE).unwrap();
}

#[test]
fn a_rate_is_held_to_across_generations() {
    let limits = AdmissionLimits { accept_rate_per_ip: 4, ..Default::default() };
    let start = Instant::now();
    let mut admission = Admission::new(limits, start);
    let tries = (0..10_000).map(|ms| start + Duration::from_millis(ms));
    let admitted = tries.filter(|now| admission.admit(*now, HERE).is_ok()).count();
    // Four at once, and four in each of the ten seconds.
    assert!((40..=44).contains(&admitted), "{admitted}");
}

#[test]
fn a_flood_of_addresses_is_forgotten_again() {
    let limits = AdmissionLimits { accept_rate_per_ip: 1, ..Default::default() };
    let mut now = Instant::now();
    let mut admission = Admission::new(limits, now);
    for n in 0..100_000_u32 {
        now += Duration::from_millis(1);
        let ip = Some(IpAddr::V4(n.into()));
        admission.admit(now, ip).unwrap();
        admission.release(ip);
        assert!(admission.rates_by_ip.len() <= 2_000);
    }
}

#[test]
fn without_limits_everybody_is_admitted() {
    let now = Instant::now();
    let mut admission = Admission::new(AdmissionLimits::default(), now);
    for _ in 0..10_000 {
        admission.begin_handshake(HERE).unwrap();
        admission.begin_half_open(HERE.unwrap()).unwrap();
        admission.admit(now, HERE).unwrap();
    }
}

#[test]
fn an_attempt_that_is_admitted_counts_once() {
    let now = Instant::now();
    let limits = AdmissionLimits { max_connections: 200, ..Default::default() };
    let mut admission = Admission::new(limits, now);
    for _ in 0..200 {
        admission.begin_handshake(HERE).unwrap();
        admission.admit(now, HERE).unwrap();
        admission.end_handshake(HERE);
    }
    // Each further one is heard, and told why it is refused.
    for _ in 0..128 {
        admission.begin_handshake(HERE).unwrap();
        assert_eq!(refusal(admission.admit(now, HERE)), "max_connections");
    }
    let refused = admission.begin_handshake(HERE).unwrap_err().limit;
    assert_eq!((refused.name, refused.limit, refused.observed), ("max_connections", 200, 201));
}

#[test]
fn a_socket_that_changes_its_address_needs_no_second_place() {
    let limits = AdmissionLimits { max_connections: 2, half_open_per_ip: 1, ..Default::default() };
    let mut admission = Admission::new(limits, Instant::now());
    for _ in 0..130 {
        admission.begin_handshake(None).unwrap();
    }
    assert_eq!(refusal(admission.begin_handshake(None)), "max_connections");
    admission.move_handshake(None, HERE).unwrap();
    admission.move_handshake(HERE, HERE).unwrap();
    // A second one of this network is refused, and counts as before.
    assert_eq!(refusal(admission.move_handshake(None, HERE)), "half_open_per_ip");
    admission.move_handshake(None, THERE).unwrap();
    admission.end_handshake(HERE);
    admission.end_handshake(THERE);
    for _ in 0..128 {
        admission.end_handshake(None);
    }
    assert!(admission.handshakes.is_empty());
}

#[test]
fn silent_sockets_of_one_host_leave_room_for_others() {
    let limits =
        AdmissionLimits { max_connections: 100, half_open_per_ip: 10, ..Default::default() };
    let mut admission = Admission::new(limits, Instant::now());
    // A burst is heard as long as there is room enough.
    let heard = (0..1_000).filter(|_| admission.begin_handshake(HERE).is_ok()).count();
    assert_eq!(heard, 114);
    assert_eq!(refusal(admission.begin_handshake(HERE)), "half_open_per_ip");
    admission.begin_handshake(THERE).unwrap();
    admission.begin_handshake(None).unwrap();
    // Those that stay silent are refused but for a few.
    let stay = (0..114).filter(|_| match admission.begin_half_open(HERE.unwrap()) {
        Ok(()) => true,
        Err(_) => {
            admission.end_handshake(HERE);
            false
        }
    });
    assert_eq!(stay.count(), 10);
    admission.begin_handshake(HERE).unwrap();
    for ip in [HERE, THERE, None] {
        admission.end_handshake(ip);
    }
    for _ in 0..10 {
        admission.end_half_open(HERE.unwrap());
        admission.end_handshake(HERE);
    }
    assert!(admission.handshakes.is_empty());
}

#[test]
fn those_that_come_with_others_and_those_that_were_dialled_take_places() {
    let now = Instant::now();
    let limits = AdmissionLimits { max_connections: 3, ..Default::default() };
    let mut admission = Admission::new(limits, now);
    admission.admit(now, HERE).unwrap();
    admission.admit_upstream().unwrap();
    admission.count_dialled();
    admission.count_dialled();
    assert_eq!(refusal(admission.admit_upstream()), "max_connections");
    assert_eq!(refusal(admission.admit(now, HERE)), "max_connections");
    for _ in 0..2 {
        admission.release(None);
    }
    admission.admit(now, HERE).unwrap();
}

#[test]
fn a_flood_from_one_network_leaves_the_others_their_handshakes() {
    let start = Instant::now();
    let limits = AdmissionLimits { handshakes_per_second: 80, ..Default::default() };
    let mut admission = Admission::new(limits, start);
    let (mut flood, mut others) = (0, 0);
    for ms in 0..5000 {
        let now = start + Duration::from_millis(ms);
        flood += u32::from(admission.admit(now, HERE).is_ok());
        if ms % 125 == 0 {
            admission.admit(now, THERE).unwrap_or_else(|why| panic!("{why:?} at {ms} ms"));
            others += 1;
        }
    }
    assert_eq!(others, 40);
    // The rest is the flood's: a burst, and then what comes anew.
    assert!((420..=440).contains(&flood), "{flood}");
}

#[test]
fn a_network_that_is_alone_has_the_whole_rate() {
    let start = Instant::now();
    let limits = AdmissionLimits { handshakes_per_second: 80, ..Default::default() };
    let mut admission = Admission::new(limits, start);
    let admitted = (0..10_000)
        .filter(|ms| admission.admit(start + Duration::from_millis(*ms), HERE).is_ok())
        .count();
    assert!((860..=880).contains(&admitted), "{admitted}");
}

#[test]
fn limits_that_change_count_what_is_open() {
    let now = Instant::now();
    let mut admission = Admission::new(AdmissionLimits::default(), now);
    for ip in [HERE, HERE, THERE] {
        admission.begin_handshake(ip).unwrap();
        admission.admit(now, ip).unwrap();
    }
    let limits = AdmissionLimits {
        max_connections: 3,
        max_connections_per_ip: 1,
        accept_rate_per_ip: 1,
        half_open_per_ip: 1,
        ..Default::default()
    };
    admission.set_limits(limits, now);
    assert_eq!(refusal(admission.admit(now, HERE)), "max_connections");
    admission.release(HERE);
    assert_eq!(refusal(admission.admit(now, HERE)), "max_connections_per_ip");
    admission.release(HERE);
    admission.admit(now, HERE).unwrap();
    admission.set_limits(AdmissionLimits { max_connections_per_ip: 0, ..limits }, now);
    assert_eq!(refusal(admission.admit(now, HERE)), "accept_rate_per_ip");
    admission.set_limits(AdmissionLimits::default(), now);
    admission.admit(now, HERE).unwrap();
    for ip in [HERE, HERE, THERE] {
        admission.release(ip);
        admission.end_handshake(ip);
    }
    assert!(admission.connections() == 0 && admission.connections_by_ip.is_empty());
    assert!(admission.handshakes.is_empty());
}

#[test]
fn a_rate_that_has_not_changed_goes_on() {
    let now = Instant::now();
    let limits = AdmissionLimits { handshakes_per_second: 1, ..Default::default() };
    let mut admission = Admission::new(limits, now);
    admission.admit(now, None).unwrap();
    admission.set_limits(AdmissionLimits { max_connections: 7, ..limits }, now);
    assert_eq!(refusal(admission.admit(now, None)), "handshakes_per_second");
    admission.set_limits(AdmissionLimits { handshakes_per_second: 2, ..limits }, now);
    admission.admit(now, None).unwrap();
}
