//! The waits, over any history of endings, without a clock or a socket.

use proptest::prelude::*;

use super::*;
use crate::protocol::classification::{self, with_retry_after};
use crate::vocabulary::{
    Cause, CloseCode, CloseFrame, CloseState, Direction, FirstClose, Kind, OpenFailure,
    ReceivedClose,
};

const HOUR: Duration = Duration::from_secs(3600);

/// The longest duration that the configuration takes, in milliseconds.
const TEN_YEARS: u64 = 3650 * 24 * 3_600_000;

fn policy() -> ReconnectPolicy {
    ReconnectPolicy {
        min: Duration::from_millis(200),
        max: Duration::from_secs(30),
        stable_after: Duration::from_secs(60),
        never_on: vec![1008, 4004],
    }
}

/// An outcome as it would be recorded of an outbound connection.
fn outcome(kind: Kind, code: Option<u16>) -> Outcome {
    let opened = kind.open_failure().is_none();
    let mut outcome = Outcome {
        cause: if code.is_some() { Cause::Peer } else { Cause::None },
        first_close: if code.is_some() { FirstClose::Peer } else { FirstClose::None },
        state: opened.then_some(CloseState::Closed),
        close_received: code.map(|code| ReceivedClose { code: Some(code), reason: "".into() }),
        ..Outcome::of(kind)
    };
    classification::judge(&mut outcome, Direction::Outbound);
    outcome
}

fn closed(code: u16) -> Outcome {
    outcome(Kind::Clean, Some(code))
}

fn refused(status: u16) -> Outcome {
    outcome(Kind::OpenFailed(OpenFailure::UpgradeRejected { status }), None)
}

fn asked(wait: Duration) -> Outcome {
    let mut outcome = refused(503);
    outcome.retry = with_retry_after(outcome.retry, wait);
    outcome
}

fn wait(advised: NextStep) -> Duration {
    match advised {
        NextStep::Wait(wait) => wait,
        NextStep::GiveUp(why) => panic!("gave up: {why:?}"),
    }
}

#[test]
fn what_the_other_leg_of_a_relay_closed_with_is_not_the_peers_word() {
    let relayed = |sent: u16, received: u16| {
        let mut outcome = closed(received);
        outcome.cause = Cause::RelayPeer;
        outcome.close_sent = Some(CloseFrame::coded(CloseCode::new(sent).unwrap(), ""));
        classification::judge(&mut outcome, Direction::Outbound);
        Reconnect::new(policy()).handle_end(&outcome, HOUR, 0.5)
    };
    for echoed in [1000, 1003, 1008, 3000, 4004] {
        assert!(wait(relayed(echoed, echoed)) <= Duration::from_millis(400), "{echoed}");
    }
    // Both Closes crossed: that one is its own.
    assert_eq!(relayed(1000, 4004), NextStep::GiveUp(GiveUp::NeverOn(4004)));
    assert_eq!(relayed(1000, 1003), NextStep::GiveUp(GiveUp::Never));
}

#[test]
fn what_would_end_the_same_way_is_given_up() {
    let mut reconnect = Reconnect::new(policy());
    let mut after = |outcome: &Outcome| reconnect.handle_end(outcome, HOUR, 0.5);
    assert_eq!(after(&closed(1008)), NextStep::GiveUp(GiveUp::NeverOn(1008)));
    assert_eq!(after(&closed(4004)), NextStep::GiveUp(GiveUp::NeverOn(4004)));
    assert_eq!(after(&closed(1003)), NextStep::GiveUp(GiveUp::Never));
    assert_eq!(after(&refused(404)), NextStep::GiveUp(GiveUp::Never));
    let breach = outcome(Kind::ProtocolViolation, None);
    assert_eq!(after(&breach), NextStep::GiveUp(GiveUp::Never));
    // A feed that says goodbye is dialled again.
    wait(after(&closed(1000)));
    wait(after(&closed(1001)));
}

#[test]
fn new_credentials_are_tried_at_the_longest_wait() {
    let mut reconnect = Reconnect::new(policy());
    for outcome in [refused(401), refused(403), closed(3000)] {
        let waits =
            [0.0, 1.0].map(|jitter| wait(reconnect.handle_end(&outcome, Duration::ZERO, jitter)));
        assert_eq!(waits, [policy().max; 2]);
    }
}

#[test]
fn the_bound_doubles_until_a_connection_has_held() {
    let mut reconnect = Reconnect::new(policy());
    let reset = outcome(Kind::ConnectionReset, None);
    let mut longest = |held| wait(reconnect.handle_end(&reset, held, 1.0)).as_millis();
    let flap = Duration::from_secs(59);
    let bounds: Vec<_> = (0..9).map(|_| longest(flap)).collect();
    assert_eq!(bounds, [400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
    assert_eq!(longest(Duration::from_secs(60)), 400);
    assert_eq!(longest(flap), 800);
    assert_eq!(reconnect.attempts(), 2);
    reconnect.reset();
    assert_eq!(wait(reconnect.handle_end(&reset, flap, 1.0)).as_millis(), 400);
}

#[test]
fn a_peer_that_asks_for_time_gets_it() {
    let mut reconnect = Reconnect::new(policy());
    let mut after =
        |outcome: &Outcome, jitter| wait(reconnect.handle_end(outcome, Duration::ZERO, jitter));
    // "Try again later" (1013), 429: at least five seconds.
    assert_eq!(after(&closed(1013), 0.0), Duration::from_secs(5));
    assert_eq!(after(&refused(429), 0.0), Duration::from_secs(5));
    assert!(after(&closed(1013), 1.0) <= policy().max);
    // Retry-After, also beyond the longest wait.
    assert_eq!(after(&asked(Duration::from_secs(7)), 0.0), Duration::from_secs(7));
    assert_eq!(after(&asked(Duration::from_secs(300)), 0.0), Duration::from_secs(300));
    assert_eq!(after(&asked(HOUR * 24), 0.0), LONGEST_RETRY_AFTER);
    assert!(after(&asked(HOUR * 24), 1.0) <= LONGEST_RETRY_AFTER + LONGEST_RETRY_AFTER / 10);
    // A dialer that waits for longer than anybody may ask for does so.
    let rare = ReconnectPolicy { min: HOUR * 2, max: HOUR * 24, ..policy() };
    let mut rare = Reconnect::new(rare);
    for jitter in [0.0, 1.0] {
        let advised = rare.handle_end(&asked(Duration::from_secs(5)), Duration::ZERO, jitter);
        assert_eq!(advised, NextStep::Wait(HOUR * 2));
    }
    // One that asks for less than a dialer waits anyway changes nothing.
    assert!(after(&asked(Duration::ZERO), 0.0) >= policy().min);
    let short = ReconnectPolicy { max: Duration::from_secs(1), ..policy() };
    let waited = Reconnect::new(short).handle_end(&closed(1013), Duration::ZERO, 1.0);
    assert_eq!(waited, NextStep::Wait(Duration::from_secs(1)));
}

#[test]
fn no_budget_is_no_limit() {
    let mut budget = DialBudget::per_second(0);
    let now = Instant::now();
    assert!((0..1000).all(|_| budget.take(now).is_ok()));
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        (1000..5000_u16).prop_map(closed),
        Just(outcome(Kind::ConnectionReset, None)),
        Just(outcome(Kind::PongTimeout, None)),
        Just(outcome(Kind::OpenFailed(OpenFailure::Dns), None)),
        (400..600_u16).prop_map(refused),
        (0..10_000_000_u64).prop_map(|seconds| asked(Duration::from_secs(seconds))),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_waits_stay_within_their_bounds(
        ends in proptest::collection::vec((any_outcome(), 0..200_u64, 0.0..=1.0_f64), 1..60),
        // Up to what the configuration takes, ten years, and often as short as it mostly is.
        min in prop_oneof![1..5_000_u64, 1..TEN_YEARS],
        longer in prop_oneof![0..100_000_u64, 0..TEN_YEARS],
    ) {
        let min = Duration::from_millis(min);
        let max = (min + Duration::from_millis(longer)).min(Duration::from_millis(TEN_YEARS));
        let mut reconnect = Reconnect::new(ReconnectPolicy { min, max, ..policy() });
        let mut unstable = 0_u32;
        for (outcome, held, jitter) in ends {
            let held = Duration::from_secs(held);
            let stable = held >= Duration::from_secs(60);
            let advised = reconnect.handle_end(&outcome, held, jitter);
            unstable = if stable { 1 } else { unstable + 1 };
            prop_assert_eq!(reconnect.attempts(), unstable);
            let never = outcome.close_received.as_ref().and_then(|close| close.code)
                .is_some_and(|code| [1008, 4004].contains(&code))
                || outcome.retry == Retry::Never;
            match advised {
                NextStep::GiveUp(_) => prop_assert!(never),
                NextStep::Wait(wait) => {
                    prop_assert!(!never);
                    prop_assert!(wait >= min.min(max));
                    let asked = match outcome.retry {
                        Retry::Backoff { min, .. } if outcome.retry != LATER => min,
                        _ => Duration::ZERO,
                    };
                    if asked > default_min() {
                        prop_assert!(wait >= asked.min(LONGEST_RETRY_AFTER));
                        prop_assert!(wait <= max.max(LONGEST_RETRY_AFTER + LONGEST_RETRY_AFTER / 10));
                    } else {
                        prop_assert!(wait <= max);
                    }
                }
            }
        }
    }

    #[test]
    fn no_second_has_more_dials_than_the_budget(
        dials in 1..200_u64,
        gaps in proptest::collection::vec(0..50_u64, 1..300),
    ) {
        let mut budget = DialBudget::per_second(dials);
        let (mut now, mut taken) = (Instant::now(), Vec::new());
        for gap in gaps {
            now += Duration::from_millis(gap);
            match budget.take(now) {
                Ok(()) => taken.push(now),
                Err(again) => {
                    prop_assert!(again > now && again - now <= Duration::from_secs(1));
                }
            }
        }
        for window in taken.windows(2) {
            prop_assert!(window[1] - window[0] >= Duration::from_nanos(1_000_000_000 / dials));
        }
    }
}
