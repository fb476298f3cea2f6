use super::*;
use crate::protocol::frame_scanner::{FramingViolation, Position};
use crate::vocabulary::{Advice, CloseState, Limit};

fn limit() -> Limit {
    Limit { name: "max_frame_size", limit: 1, observed: 2 }
}

/// A clean ending that the peer began with 4000, to be changed by each test.
fn outcome() -> Outcome {
    Outcome {
        cause: Cause::Peer,
        first_close: FirstClose::Peer,
        state: Some(CloseState::Closed),
        close_sent: CloseFrame::new(Some(4000), "").ok(),
        close_received: Some(received(4000, "")),
        transport_end: Some(TransportEnd::Fin),
        ..Outcome::of(Kind::Clean)
    }
}

fn received(code: u16, reason: &str) -> ReceivedClose {
    ReceivedClose { code: Some(code), reason: reason.into() }
}

fn sent(code: u16, reason: &str) -> Option<CloseFrame> {
    CloseFrame::new(Some(code), reason).ok()
}

fn judged(mut outcome: Outcome, direction: Direction) -> Outcome {
    judge(&mut outcome, direction);
    outcome
}

fn advice(outcome: Outcome, direction: Direction) -> Advice {
    judged(outcome, direction).retry.advice()
}

fn detail(outcome: Outcome) -> String {
    judged(outcome, Direction::Inbound).detail
}

#[test]
fn a_close_of_any_code_is_kept_as_it_came_and_judged_by_the_contracts_ranges() {
    for code in 0..=u16::MAX {
        let legal = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        for (reason, text, valid) in [
            (&b""[..], "", true),
            ("grüße".as_bytes(), "grüße", true),
            (b"a\xff", "a\u{fffd}", false),
            // Cut off inside a character.
            (b"\xe2\x82", "\u{fffd}", false),
        ] {
            let breach = match (legal, valid) {
                (false, _) => Some(Breach::IllegalCode(code)),
                (true, false) => Some(Breach::InvalidReason),
                (true, true) => None,
            };
            let payload = [&code.to_be_bytes(), reason].concat();
            assert_eq!(read_close(&payload), (received(code, text), breach), "{code} {reason:?}");
        }
    }
}

#[test]
fn an_empty_close_is_legal_and_one_byte_is_not() {
    assert_eq!(read_close(&[]), (ReceivedClose::default(), None));
    for byte in 0..=u8::MAX {
        assert_eq!(read_close(&[byte]), (ReceivedClose::default(), Some(Breach::ShortClose)));
    }
}

#[test]
fn every_breach_has_the_code_of_section_7_4_1() {
    let too_big = Breach::Framing(FramingViolation::MessageTooBig(limit()));
    let rows = [
        (Breach::Framing(FramingViolation::UnmaskedFrame), Kind::ProtocolViolation, 1002),
        (too_big.clone(), Kind::MessageTooBig, 1009),
        (Breach::ShortClose, Kind::ProtocolViolation, 1002),
        (Breach::IllegalCode(1006), Kind::ProtocolViolation, 1002),
        (Breach::InvalidReason, Kind::InvalidPayload, 1007),
        (Breach::InvalidText, Kind::InvalidPayload, 1007),
        (Breach::Other("odd".to_owned()), Kind::ProtocolViolation, 1002),
    ];
    for (breach, kind, code) in rows {
        assert_eq!((breach.kind(), breach.close_code().get()), (kind, code));
        assert_eq!(breach.into_limit().is_some(), kind == Kind::MessageTooBig);
    }
    assert_eq!(too_big.into_limit(), Some(limit()));
}

#[test]
fn every_loss_has_a_kind_and_an_end_of_its_own() {
    let rows = [
        (LossKind::Fin, Kind::ClosedPrematurely, TransportEnd::Fin, true),
        (LossKind::Reset, Kind::ConnectionReset, TransportEnd::Reset, false),
        (LossKind::TlsTruncated, Kind::TlsTruncated, TransportEnd::TlsTruncated, true),
        (LossKind::PathLost("x".into()), Kind::PathLost, TransportEnd::Timeout, false),
        (LossKind::Error("x".into()), Kind::TransportError, TransportEnd::Error, false),
    ];
    for (how, kind, end, half) in rows {
        let loss = Loss { how, position: Position::BetweenMessages };
        assert_eq!((loss.kind(), loss.transport_end(), loss.is_half()), (kind, end, half));
    }
}

#[test]
fn the_fault_of_a_kind_is_the_one_of_the_contracts_table() {
    use Fault::{Backend, Local, Network, Operator, Peer};
    let faults = [
        (Kind::Clean, Fault::None),
        (Kind::ClosedPrematurely, Peer),
        (Kind::ConnectionReset, Peer),
        (Kind::PathLost, Network),
        (Kind::TlsTruncated, Network),
        (Kind::TransportError, Network),
        (Kind::CloseTimeout, Peer),
        (Kind::PongTimeout, Network),
        (Kind::ProtocolViolation, Peer),
        (Kind::InvalidPayload, Peer),
        (Kind::MessageTooBig, Peer),
        (Kind::SlowConsumer, Peer),
        (Kind::BackendFailed, Backend),
        (Kind::ActorFailed, Local),
        (Kind::Aborted, Operator),
        (Kind::DrainDeadline, Operator),
        (Kind::ProcessDied, Local),
    ];
    assert_eq!(faults.map(|(kind, _)| kind), Kind::OF_CONNECTIONS);
    for (kind, fault) in faults {
        let outcome = judged(Outcome { kind, ..outcome() }, Direction::Inbound);
        assert_eq!(outcome.fault, fault, "{kind}");
    }
}

#[test]
fn a_clean_end_is_the_operators_if_asked_and_the_backends_if_it_failed() {
    for cause in Cause::ALL.iter().copied() {
        for code in [1000, 1010, 1011, 1012, 1013, 1014, 3000] {
            let due = match cause {
                Cause::Api | Cause::Embedder | Cause::Drain | Cause::Revoked => Fault::Operator,
                Cause::Backend if matches!(code, 1011..=1014) => Fault::Backend,
                _ => Fault::None,
            };
            let outcome = Outcome { cause, close_sent: sent(code, ""), ..outcome() };
            let mut judged = judged(outcome, Direction::Inbound);
            assert_eq!(judged.fault, due, "{cause} {code}");
            judge_backend_close(&mut judged);
            let closed = cause == Cause::RelayPeer && matches!(code, 1011..=1014);
            let due = if closed { Fault::Backend } else { due };
            assert_eq!(judged.fault, due, "{cause} {code}");
        }
    }
}

#[test]
fn violations_never_come_back_whatever_was_said() {
    for kind in [Kind::ProtocolViolation, Kind::InvalidPayload, Kind::MessageTooBig] {
        let outcome = Outcome { kind, close_received: Some(received(3000, "")), ..outcome() };
        assert_eq!(advice(outcome, Direction::Outbound), Advice::Never);
    }
}

#[test]
fn the_cause_is_judged_before_the_codes() {
    for cause in Cause::ALL.iter().copied() {
        let due = match cause {
            Cause::Replaced | Cause::Violation => Advice::Never,
            Cause::AuthExpired | Cause::Revoked => Advice::Reauthenticate,
            Cause::RateLimited | Cause::SlowConsumer => Advice::Backoff,
            // Left to the code, which is 1008.
            _ => Advice::Never,
        };
        let outcome = Outcome { cause, close_received: Some(received(1008, "")), ..outcome() };
        assert_eq!(advice(outcome, Direction::Outbound), due, "{cause}");
    }
}

#[test]
fn codes_that_forbid_a_return_do_so_sent_or_received() {
    for code in (1000..=1003).chain(1007..=1014).chain([3000, 3001, 4000, 4999]) {
        let due = match code {
            1002 | 1003 | 1007..=1010 => Advice::Never,
            3000 => Advice::Reauthenticate,
            _ => Advice::Backoff,
        };
        let came = Outcome { close_received: Some(received(code, "")), ..outcome() };
        assert_eq!(advice(came, Direction::Outbound), due, "received {code}");
        let left = Outcome { cause: Cause::Api, close_sent: sent(code, ""), ..outcome() };
        assert_eq!(advice(left, Direction::Outbound), due, "sent {code}");
    }
}

#[test]
fn of_two_codes_the_one_that_forbids_more_counts() {
    for (ours, theirs, due) in [
        (1009, 1013, Advice::Never),
        (1013, 1009, Advice::Never),
        (1008, 3000, Advice::Never),
        (3000, 1013, Advice::Reauthenticate),
        (1013, 4000, Advice::Backoff),
    ] {
        let outcome = Outcome {
            cause: Cause::Api,
            close_sent: sent(ours, ""),
            close_received: Some(received(theirs, "")),
            ..outcome()
        };
        assert_eq!(advice(outcome, Direction::Inbound), due, "{ours} and {theirs}");
    }
}

#[test]
fn a_client_that_left_of_its_own_will_is_not_called_back_and_a_server_is_sought_again() {
    for code in [1000, 1001] {
        let left = Outcome { close_received: Some(received(code, "")), ..outcome() };
        assert_eq!(advice(left.clone(), Direction::Inbound), Advice::Never);
        assert_eq!(advice(left.clone(), Direction::Outbound), Advice::Backoff);
        // Nor is it if the application asks it to come later.
        let later = Outcome { close_sent: sent(1013, ""), ..left.clone() };
        assert_eq!(advice(later, Direction::Inbound), Advice::Never);
        // An echo of ours is not its own will.
        let asked = Outcome { cause: Cause::Drain, ..left };
        assert_eq!(advice(asked, Direction::Inbound), Advice::Backoff);
    }
}

#[test]
fn every_wait_is_a_range_so_that_many_do_not_come_back_at_once() {
    for cause in Cause::ALL.iter().copied() {
        let outcome = judged(Outcome { cause, ..outcome() }, Direction::Outbound);
        if let Retry::Backoff { min, max } = outcome.retry {
            assert!(!min.is_zero() && min < max, "{cause}");
        }
    }
}

#[test]
fn attempts_are_blamed_and_advised_by_what_failed() {
    use Advice::{Backoff, Never, Reauthenticate};
    use Fault::{Backend, Local, Network, Operator, Peer};
    use OpenFailure as F;
    let rows = [
        (F::RefusedLimit, Local, Backoff),
        (F::RefusedRate, Peer, Backoff),
        (F::RefusedDraining, Operator, Backoff),
        (F::RefusedOrigin, Peer, Never),
        (F::UntrustedProxy, Peer, Never),
        (F::Unauthorized, Peer, Reauthenticate),
        (F::NoRoute, Peer, Never),
        (F::BadRequest, Peer, Never),
        (F::HandshakeTimeout, Peer, Backoff),
        (F::PeerGone, Peer, Backoff),
        (F::Dns, Network, Backoff),
        (F::ConnectRefused, Peer, Backoff),
        (F::ConnectTimeout, Network, Backoff),
        (F::PortsExhausted, Local, Backoff),
        (F::Tls, Peer, Backoff),
        (F::UpgradeRejected { status: 301 }, Peer, Backoff),
        (F::UpgradeRejected { status: 401 }, Peer, Reauthenticate),
        (F::UpgradeRejected { status: 403 }, Peer, Reauthenticate),
        (F::UpgradeRejected { status: 404 }, Peer, Never),
        (F::UpgradeRejected { status: 408 }, Peer, Backoff),
        (F::UpgradeRejected { status: 429 }, Peer, Backoff),
        (F::UpgradeRejected { status: 503 }, Peer, Backoff),
        (F::BackendRefused, Backend, Backoff),
        (F::BackendUnreachable, Backend, Backoff),
    ];
    for (failure, fault, advice) in rows {
        let attempt = Outcome {
            kind: Kind::OpenFailed(failure),
            cause: Cause::None,
            first_close: FirstClose::None,
            state: None,
            close_sent: None,
            close_received: None,
            ..outcome()
        };
        let attempt = judged(attempt, Direction::Inbound);
        assert_eq!((attempt.fault, attempt.retry.advice()), (fault, advice), "{failure}");
    }
}

#[test]
fn the_detail_says_who_closed_first_and_with_what() {
    let peer = |code, reason| Outcome { close_received: Some(received(code, reason)), ..outcome() };
    assert_eq!(detail(peer(1000, "bye")), "the peer closed first, with 1000 \"bye\"");
    assert_eq!(detail(peer(1001, "")), "the peer closed first, with 1001");
    let empty = Outcome { close_received: Some(ReceivedClose::default()), ..outcome() };
    assert_eq!(detail(empty), "the peer closed first, with an empty Close");
    let ours = Outcome {
        first_close: FirstClose::Local,
        cause: Cause::Drain,
        close_sent: sent(1012, "service restart"),
        ..outcome()
    };
    let said = "this end closed first, with 1012 \"service restart\" (drain)";
    assert_eq!(detail(ours.clone()), said);
    let late = Outcome { transport_end: Some(TransportEnd::Timeout), ..ours };
    assert_eq!(detail(late), format!("{said}; the peer did not end TCP in time"));
}

#[test]
fn the_detail_is_one_line_whatever_the_peer_wrote() {
    let close_received = Some(received(1000, "a\nb\u{1b}[31m\"\u{202e}"));
    let said = detail(Outcome { close_received, ..outcome() });
    assert_eq!(said, r#"the peer closed first, with 1000 "a\nb\u{1b}[31m\"\u{202e}""#);
}

#[test]
fn the_detail_of_a_loss_says_where_the_stream_stood() {
    use Standing::{AnswerQueued, CloseLeft, CloseQueued, Open};
    let payload = Position::InPayload { read: 12, len: 4096 };
    let header = Position::InHeader { have: 1 };
    let idle = Position::BetweenMessages;
    let rows = [
        (LossKind::Fin, idle, Open, "the peer ended TCP (FIN) between messages"),
        (
            LossKind::Fin,
            payload,
            Open,
            "the peer ended TCP (FIN) inside a payload (12 of 4096 bytes)",
        ),
        (LossKind::Reset, header, Open, "the peer reset TCP (RST) inside a header"),
        (
            LossKind::Fin,
            Position::BetweenFragments,
            Open,
            "the peer ended TCP (FIN) between fragments",
        ),
        (LossKind::Fin, idle, CloseLeft, "the peer ended TCP (FIN) instead of answering our Close"),
        (
            LossKind::Reset,
            header,
            CloseLeft,
            "the peer reset TCP (RST) inside a header, instead of answering our Close",
        ),
        (
            LossKind::Fin,
            idle,
            CloseQueued,
            "the peer ended TCP (FIN) between messages, before our Close had left",
        ),
        (
            LossKind::Reset,
            idle,
            AnswerQueued,
            "the peer reset TCP (RST) before our answer had left",
        ),
        (LossKind::TlsTruncated, idle, Open, "TLS ended without close_notify between messages"),
        (
            LossKind::PathLost("no route to host".into()),
            idle,
            Open,
            "the network lost the peer (no route to host) between messages",
        ),
        (
            LossKind::Error("errno 5".into()),
            idle,
            Open,
            "the transport failed (errno 5) between messages",
        ),
    ];
    for (how, position, standing, said) in rows {
        assert_eq!(Loss { how, position }.describe(standing), said);
    }
}
