//! What Prometheus sees.

mod deploy;
mod exposition;
mod identity;
mod parser;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{DrainFacts, LedgerFacts, Metrics, MetricsSources, Observations, TlsFacts};
use crate::surfaces::reloads::ReloadFacts;
use crate::vocabulary::{
    BackendState, BackendStatus, Cause, Census, CensusLine, CloseState, ConnectionId, Direction,
    Ending, Event, Fault, HttpCensus, HttpOutcome, Kind, OpenByState, Origin, Outcome, Published,
    Record, RevocationCounts, Verdict,
};

/// A route as a configuration may name it.
const ODD: &str = r#"a"b\c"#;

fn sources() -> MetricsSources {
    MetricsSources {
        routes: Box::new(|| vec!["chat".to_owned(), "idle".to_owned()]),
        max_connections: Box::new(|| 19_744),
        census: Box::new(census),
        backends: Box::new(|| {
            vec![
                backend(0, BackendState::Serving, 3),
                backend(1, BackendState::Ejected, 0),
                backend(2, BackendState::Serving, 4),
            ]
        }),
        http: Box::new(|| HttpCensus {
            connections: 2,
            outcomes: HttpOutcome::ALL.map(|outcome| (outcome, outcome as u64)),
        }),
        ledger: Box::new(|| LedgerFacts {
            lag: Duration::from_millis(250),
            failing: true,
            recovered: 3,
        }),
        revocations: Box::new(|| RevocationCounts { in_force: 5, closed: 6, refused: 8 }),
        drain: Box::new(|| DrainFacts { draining: true, left: 7, http_left: 2 }),
        reloads: Box::new(|| ReloadFacts {
            succeeded: 3,
            failed: 1,
            read_at: SystemTime::UNIX_EPOCH + Duration::from_millis(1500),
            last: None,
        }),
        token_file_failed: Box::new(|| 2),
        tls: Box::new(|| {
            vec![TlsFacts {
                listener: "public".to_owned(),
                certificates: vec![("fullchain.pem".to_owned(), SystemTime::UNIX_EPOCH)],
                refused: 1,
            }]
        }),
    }
}

fn backend(number: usize, state: BackendState, connections: u64) -> BackendStatus {
    BackendStatus {
        route: "chat".to_owned(),
        number,
        url: "ws://app".to_owned(),
        state,
        ejected_until: None,
        healthy: true,
        connections,
        failures: 0,
        chosen: 9,
        ejections: 0,
    }
}

/// Five connections of one route, two of another.
fn census() -> Census {
    let mut open = OpenByState::default();
    open.count(CloseState::Open);
    open.count(CloseState::CloseSent);
    let reset = Verdict { kind: Kind::ConnectionReset, fault: Fault::Peer, cause: Cause::None };
    let asked = Verdict { kind: Kind::Clean, fault: Fault::Operator, cause: Cause::Api };
    let line = |direction, route: &str, opened, open, ended| CensusLine {
        direction,
        route: route.into(),
        opened,
        open,
        ended,
    };
    Census {
        lines: vec![
            line(Direction::Inbound, "chat", 5, open, vec![(reset, 2), (asked, 1)]),
            line(Direction::Outbound, "", 2, OpenByState::default(), vec![(asked, 2)]),
            line(Direction::Inbound, ODD, 2, open, vec![]),
        ],
        messages_in: 10,
        messages_out: 9,
        outbox_bytes: 4096,
        memory_used: 5000,
        memory_limit: 1 << 30,
    }
}

fn scrape(observations: Observations) -> String {
    Metrics::new(Arc::new(observations), sources()).render()
}

fn ending(kind: Kind, route: Option<&str>) -> Ending {
    let mut origin = Origin::new(Direction::Inbound);
    origin.route = route.map(str::to_owned);
    Ending {
        id: ConnectionId::new(),
        node: "test".into(),
        origin: Arc::new(origin),
        relay_peer: None,
        opened_at: SystemTime::UNIX_EPOCH,
        ended_at: SystemTime::UNIX_EPOCH,
        open_for: Duration::from_secs(90),
        outcome: Outcome { handshake: Some(Duration::from_millis(3)), ..Outcome::of(kind) },
        traffic: None,
        tcp: None,
    }
}

fn ended(kind: Kind, record: Record) -> Published {
    Published { event: Event::Ended(Arc::new(ending(kind, Some("chat")))), record }
}

fn failed(kind: Kind, route: Option<&str>, record: Record) -> Published {
    Published { event: Event::OpenFailed(Arc::new(ending(kind, route))), record }
}
