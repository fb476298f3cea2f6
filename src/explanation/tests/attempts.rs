//! Attempts that never became a connection, one for each failure of the contract.

use super::Case;
use crate::contract::samples;
use crate::contract::{EndingRecord, LimitRecord, UpstreamRecord};
use crate::explanation::facts::open_failures;
use crate::protocol::classification::judge;
use crate::vocabulary::{Direction, Kind, OpenFailure, Outcome, Retry};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for failure in open_failures(404) {
        for direction in directions(failure) {
            cases.push((format!("{failure}, {direction}"), attempt(failure, *direction)));
        }
    }
    for status in [0, 302, 401, 426, 503, 500] {
        let failure = OpenFailure::UpgradeRejected { status };
        cases.push((format!("{failure} with {status}"), attempt(failure, Direction::Outbound)));
    }
    let mut no_ledger = attempt(OpenFailure::RefusedLimit, Direction::Inbound);
    no_ledger.limit = Some(LimitRecord { name: "ledger.on_failure".into(), limit: 0, observed: 1 });
    cases.push(("refused for want of a ledger".to_owned(), no_ledger));
    cases
}

/// Which way an attempt can fail like this.
fn directions(failure: OpenFailure) -> &'static [Direction] {
    match failure {
        OpenFailure::RefusedLimit
        | OpenFailure::RefusedRate
        | OpenFailure::RefusedDraining
        | OpenFailure::RefusedOrigin
        | OpenFailure::UntrustedProxy
        | OpenFailure::Unauthorized
        | OpenFailure::AuthUnavailable
        | OpenFailure::NoRoute
        | OpenFailure::BadRequest
        | OpenFailure::BackendRefused
        | OpenFailure::BackendUnreachable => &[Direction::Inbound],
        OpenFailure::HandshakeTimeout | OpenFailure::PeerGone | OpenFailure::Tls => {
            &[Direction::Inbound, Direction::Outbound]
        }
        OpenFailure::Dns
        | OpenFailure::ConnectRefused
        | OpenFailure::ConnectTimeout
        | OpenFailure::PortsExhausted
        | OpenFailure::UpgradeRejected { .. } => &[Direction::Outbound],
    }
}

fn attempt(failure: OpenFailure, direction: Direction) -> EndingRecord<'static> {
    let mut outcome = Outcome { detail: detail(failure), ..Outcome::of(Kind::OpenFailed(failure)) };
    judge(&mut outcome, direction);

    let mut record = samples::attempt(failure.as_str());
    record.detail = outcome.detail.into();
    record.fault = outcome.fault.as_str().into();
    record.retry = outcome.retry.advice().as_str().into();
    record.retry_after_ms = match outcome.retry {
        Retry::Backoff { min, max } => Some([min.as_millis() as u64, max.as_millis() as u64]),
        Retry::Never | Retry::Reauthenticate => None,
    };
    let limit = |name: &'static str, limit, observed| {
        Some(LimitRecord { name: name.into(), limit, observed })
    };
    match failure {
        OpenFailure::RefusedLimit => record.limit = limit("max_connections_per_ip", 20, 21),
        OpenFailure::RefusedRate => record.limit = limit("handshakes_per_second", 1000, 1001),
        OpenFailure::UpgradeRejected { status } => record.status = Some(status),
        _ => {}
    }
    if direction == Direction::Outbound {
        record.origin.direction = "outbound".into();
        (record.origin.listener, record.origin.path) = (None, None);
        (record.origin.host, record.origin.peer, record.origin.user_agent) = (None, None, None);
        record.origin.dialer = Some("feed".into());
        record.upstream = Some(UpstreamRecord {
            url: "wss://feed.example.org/stream".into(),
            addr: (failure != OpenFailure::Dns).then(|| "198.51.100.7:443".into()),
            connect_ms: None,
            status: record.status.filter(|status| *status != 0),
        });
    }
    record
}

fn detail(failure: OpenFailure) -> String {
    match failure {
        OpenFailure::NoRoute => "no route for /chat; answered 404".to_owned(),
        OpenFailure::UpgradeRejected { status } => format!("the server answered {status}"),
        other => format!("what the daemon says of {other}"),
    }
}
