//! What is held against an instance, and what is not.

use super::*;
use crate::protocol::classification;
use crate::vocabulary::{
    Cause, CloseState, Direction, FirstClose, Kind, OpenFailure, Outcome, ReceivedClose,
};

/// How the instance's connection would be recorded.
fn outcome(kind: Kind, cause: Cause, first_close: FirstClose, code: Option<u16>) -> Outcome {
    let mut outcome = Outcome {
        cause,
        first_close,
        state: Some(CloseState::Closed),
        close_received: code.map(|code| ReceivedClose { code: Some(code), reason: "".into() }),
        ..Outcome::of(kind)
    };
    classification::judge(&mut outcome, Direction::Outbound);
    outcome
}

/// It ended while nobody had begun to close.
fn out_of_the_blue(kind: Kind) -> Outcome {
    outcome(kind, Cause::None, FirstClose::None, None)
}

#[test]
fn a_dial_tells_of_the_instance_but_for_what_this_end_lacked() {
    use OpenFailure as F;
    for failure in F::ALL {
        let expected = match failure {
            F::Dns
            | F::ConnectRefused
            | F::ConnectTimeout
            | F::Tls
            | F::HandshakeTimeout
            | F::PeerGone
            | F::BackendUnreachable
            | F::UpgradeRejected { .. } => Some(Observation::Unanswered),
            F::PortsExhausted
            | F::RefusedLimit
            | F::RefusedRate
            | F::RefusedDraining
            | F::RefusedOrigin
            | F::UntrustedProxy
            | F::Unauthorized
            | F::AuthUnavailable
            | F::NoRoute
            | F::BadRequest
            | F::BackendRefused => None,
        };
        assert_eq!(Observation::of_dial(failure), expected, "{failure}");
        let ending = outcome(Kind::OpenFailed(failure), Cause::None, FirstClose::None, None);
        assert_eq!(Observation::of_ending(&ending), expected, "{failure}");
    }
}

#[test]
fn an_answer_of_5xx_is_none_and_any_other_refusal_is_one() {
    let of = |status| Observation::of_dial(OpenFailure::UpgradeRejected { status });
    for status in [200, 301, 400, 401, 403, 404, 408, 426, 429, 499] {
        assert_eq!(of(status), Some(Observation::Answered), "{status}");
        assert_eq!(Observation::of_status(status), Observation::Answered, "{status}");
    }
    for status in [0, 500, 502, 503, 504, 599] {
        assert_eq!(of(status), Some(Observation::Unanswered), "{status}");
        assert_eq!(Observation::of_status(status), Observation::Unanswered, "{status}");
    }
    // A 101 that the dial did not believe, and one that it did.
    assert_eq!(of(101), Some(Observation::Unanswered));
    assert_eq!(Observation::of_status(101), Observation::Answered);
}

#[test]
fn a_close_is_never_a_failure() {
    for code in 1000..5000 {
        let closed = outcome(Kind::Clean, Cause::Peer, FirstClose::Peer, Some(code));
        let expected = match code {
            1011 | 1013 | 1014 => None,
            _ => Some(Observation::Kept),
        };
        assert_eq!(Observation::of_ending(&closed), expected, "{code}");
        // Its Close came, and then it was too soon gone, or the code was illegal.
        for (kind, cause) in [
            (Kind::ConnectionReset, Cause::Peer),
            (Kind::ClosedPrematurely, Cause::Peer),
            (Kind::ProtocolViolation, Cause::Violation),
        ] {
            let ended = outcome(kind, cause, FirstClose::Peer, Some(code));
            assert_eq!(Observation::of_ending(&ended), None, "{kind} {code}");
        }
        // It repeats what this end has said.
        let answered = outcome(Kind::Clean, Cause::RelayPeer, FirstClose::Local, Some(code));
        assert_eq!(Observation::of_ending(&answered), Some(Observation::Kept), "{code}");
    }
}

#[test]
fn ends_out_of_the_blue_are_failures_unless_they_may_be_ours() {
    for kind in Kind::OF_CONNECTIONS {
        let expected = match kind {
            Kind::ClosedPrematurely
            | Kind::ConnectionReset
            | Kind::PathLost
            | Kind::TlsTruncated
            | Kind::PongTimeout => Some(Observation::BrokenOff),
            Kind::Clean => Some(Observation::Kept),
            // Never without a cause; see the tests beside this one.
            Kind::ProtocolViolation | Kind::Aborted => continue,
            Kind::TransportError
            | Kind::CloseTimeout
            | Kind::InvalidPayload
            | Kind::MessageTooBig
            | Kind::SlowConsumer
            | Kind::BackendFailed
            | Kind::ActorFailed
            | Kind::DrainDeadline
            | Kind::ProcessDied
            | Kind::OpenFailed(_) => None,
        };
        assert_eq!(Observation::of_ending(&out_of_the_blue(kind)), expected, "{kind}");
    }
}

#[test]
fn once_this_end_closes_bad_manners_are_no_failure() {
    let acts = Cause::ALL.iter().filter(|cause| **cause != Cause::None);
    for cause in acts.copied() {
        for kind in [Kind::ClosedPrematurely, Kind::ConnectionReset, Kind::CloseTimeout] {
            let ended = outcome(kind, cause, FirstClose::Local, None);
            assert_eq!(Observation::of_ending(&ended), None, "{kind} {cause}");
        }
    }
}

#[test]
fn broken_framing_is_a_failure_while_nobody_closes() {
    let broken = |cause, first| {
        Observation::of_ending(&outcome(Kind::ProtocolViolation, cause, first, None))
    };
    assert_eq!(broken(Cause::Violation, FirstClose::Local), Some(Observation::BrokenOff));
    // Our 1002 could not even leave.
    assert_eq!(broken(Cause::Violation, FirstClose::None), Some(Observation::BrokenOff));
    assert_eq!(broken(Cause::RelayPeer, FirstClose::Local), None);
}

#[test]
fn one_that_is_dropped_because_its_client_was_lost_has_kept_its_side() {
    let dropped =
        |cause| Observation::of_ending(&outcome(Kind::Aborted, cause, FirstClose::None, None));
    assert_eq!(dropped(Cause::RelayPeer), Some(Observation::Kept));
    assert_eq!(dropped(Cause::Api), None);
}
