//! Writes a scrape: every series, its name and its labels.
//!
//! No label is one that a peer can choose: routes come from the configuration, all else is a closed
//! set. The status of an `upgrade_rejected` is the other side's to choose, and so no label.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use super::process::ProcessFacts;
use super::{DrainFacts, LedgerFacts, Scraped, TlsFacts};
use crate::surfaces::reloads::ReloadFacts;
use crate::vocabulary::{
    BackendState, BackendStatus, Cause, Census, CensusLine, CloseState, Direction, Ending, Fault,
    HttpCensus, Kind, OpenByState, RevocationCounts, Verdict,
};

impl Collector for Scraped {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut scrape = Scrape(encoder);
        let mut census = (self.sources.census)();
        add_known_routes(&mut census, &(self.sources.routes)());
        scrape.connections(&census)?;
        scrape.attempts(self)?;
        scrape.histogram(
            "lastword_closing_handshake",
            "Time from the first Close to the second, of connections that had two.",
            &self.observations.closing_handshake,
        )?;
        scrape.histogram(
            "lastword_connection",
            "How long connections were open, noted as they ended.",
            &self.observations.connection,
        )?;
        scrape.queues(&census)?;
        scrape.backends(&(self.sources.backends)())?;
        scrape.http(&(self.sources.http)())?;
        scrape.ledger((self.sources.ledger)(), self.observations.unrecorded())?;
        scrape.revocations((self.sources.revocations)())?;
        scrape.drain((self.sources.drain)())?;
        scrape.counter(
            "lastword_token_file_failed",
            "Changes of control.token_file that could not be used, so that the tokens stayed.",
            (self.sources.token_file_failed)(),
        )?;
        scrape.tls(&(self.sources.tls)())?;
        scrape.reloads(&(self.sources.reloads)())?;
        scrape.process((self.sources.max_connections)(), self.started)
    }
}

/// Adds a zero line for each configured route without connections: `rate` sees a counter's first
/// increment only if the series existed before.
fn add_known_routes(census: &mut Census, routes: &[String]) {
    for route in routes {
        let is_it =
            |line: &CensusLine| line.direction == Direction::Inbound && *line.route == **route;
        if !census.lines.iter().any(is_it) {
            census.lines.push(CensusLine {
                direction: Direction::Inbound,
                route: route.as_str().into(),
                opened: 0,
                open: OpenByState::default(),
                ended: Vec::new(),
            });
        }
    }
}

/// Returns the fault and cause with which a kind usually comes; these series are there before the
/// first such ending. All combinations would be hundreds for each route, nearly all for ever 0.
fn usually(kind: Kind) -> Option<Verdict> {
    let (fault, cause) = match kind {
        Kind::Clean => (Fault::None, Cause::Peer),
        Kind::ClosedPrematurely | Kind::ConnectionReset => (Fault::Peer, Cause::None),
        Kind::PathLost | Kind::TlsTruncated | Kind::TransportError => (Fault::Network, Cause::None),
        Kind::CloseTimeout => (Fault::Peer, Cause::Drain),
        Kind::PongTimeout => (Fault::Network, Cause::Keepalive),
        Kind::ProtocolViolation | Kind::InvalidPayload | Kind::MessageTooBig => {
            (Fault::Peer, Cause::Violation)
        }
        Kind::SlowConsumer => (Fault::Peer, Cause::SlowConsumer),
        Kind::BackendFailed => (Fault::Backend, Cause::Backend),
        Kind::ActorFailed => (Fault::Local, Cause::None),
        Kind::Aborted => (Fault::Operator, Cause::Api),
        Kind::DrainDeadline => (Fault::Operator, Cause::Drain),
        // What an earlier process left is a counter of its own; an attempt is no ending.
        Kind::ProcessDied | Kind::OpenFailed(_) => return None,
    };
    Some(Verdict { kind, fault, cause })
}

/// A scrape that is being written.
struct Scrape<'a>(DescriptorEncoder<'a>);

impl Scrape<'_> {
    fn connections(&mut self, census: &Census) -> fmt::Result {
        let mut opened = self.counters(
            "lastword_connections_opened",
            "Connections that ever opened in this process: always open + endings.",
        )?;
        for line in &census.lines {
            opened.count(&of_line(line), line.opened)?;
        }
        let mut open = self.gauges(
            "lastword_connections_open",
            "Connections that are open, by where their closing handshake stands.",
        )?;
        for line in &census.lines {
            for &state in CloseState::ALL {
                let [direction, route] = of_line(line);
                open.show(&[direction, route, ("state", state.as_str())], line.open.of(state))?;
            }
        }
        let mut endings = self.counters(
            "lastword_endings",
            "Connections of this process that ended, without attempts and recovered ones.",
        )?;
        for line in &census.lines {
            for (verdict, count) in verdicts(line) {
                let [direction, route] = of_line(line);
                let kind = ("kind", verdict.kind.as_str());
                let fault = ("fault", verdict.fault.as_str());
                let cause = ("cause", verdict.cause.as_str());
                endings.count(&[kind, fault, cause, route, direction], count)?;
            }
        }
        Ok(())
    }

    fn attempts(&mut self, scraped: &Scraped) -> fmt::Result {
        let mut failed = self.counters(
            "lastword_open_failed",
            "Opening handshakes that failed, with those that are only counted and not recorded.",
        )?;
        for (route, failure, count) in scraped.observations.attempts() {
            failed.count(&[("failure", failure), ("route", &route)], count)?;
        }
        Ok(())
    }

    fn queues(&mut self, census: &Census) -> fmt::Result {
        let mut messages = self.counters(
            "lastword_messages",
            "Data messages received (in), and wholly handed to the kernel (out).",
        )?;
        messages.count(&[("direction", "in")], census.messages_in)?;
        messages.count(&[("direction", "out")], census.messages_out)?;
        self.bytes(
            "lastword_outbox",
            "Bytes of data that wait in the outboxes of all connections.",
            census.outbox_bytes,
        )?;
        self.bytes(
            "lastword_queue_memory",
            "Bytes that queues, messages received in part and opening handshakes hold.",
            census.memory_used,
        )?;
        self.bytes(
            "lastword_queue_memory_limit",
            "Bytes that they may hold (limits.memory).",
            census.memory_limit,
        )
    }

    fn backends(&mut self, backends: &[BackendStatus]) -> fmt::Result {
        // A metric without a series is left out.
        if backends.is_empty() {
            return Ok(());
        }
        let routes: BTreeSet<&str> = backends.iter().map(|backend| &*backend.route).collect();
        let mut counted = self.gauges(
            "lastword_backends",
            "Applications that a route passes connections on to, by how they fare.",
        )?;
        for route in routes {
            for &state in BackendState::ALL {
                let of_it = |at: &&BackendStatus| at.route == route && at.state == state;
                let count = backends.iter().filter(of_it).count();
                counted.show(&[("route", route), ("state", state.as_str())], count as u64)?;
            }
        }
        let mut clients = self.gauges(
            "lastword_backend_clients",
            "Clients that an application has, those included that it has not answered.",
        )?;
        for backend in backends {
            let number = backend.number.to_string();
            clients
                .show(&[("route", &*backend.route), ("number", &number)], backend.connections)?;
        }
        Ok(())
    }

    fn tls(&mut self, listeners: &[TlsFacts]) -> fmt::Result {
        // A metric without a series is left out.
        if listeners.is_empty() {
            return Ok(());
        }
        let mut expiry = self.gauges(
            "lastword_tls_certificate_expiry_timestamp_seconds",
            "When a certificate that is shown to clients expires, in seconds since 1970.",
        )?;
        for facts in listeners {
            for (file, not_after) in &facts.certificates {
                let at = not_after.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                expiry.show(&[("listener", &*facts.listener), ("cert", file)], at)?;
            }
        }
        let mut refused = self.counters(
            "lastword_tls_reload_failed",
            "Looks at the files of certificates that found what cannot be used; the old ones stay.",
        )?;
        for facts in listeners {
            refused.count(&[("listener", &*facts.listener)], facts.refused)?;
        }
        Ok(())
    }

    fn ledger(&mut self, facts: LedgerFacts, unrecorded: u64) -> fmt::Result {
        let LedgerFacts { lag, failing, recovered } = facts;
        self.seconds(
            "lastword_ledger_lag",
            "For how long the oldest entry that is not yet durable has been waiting.",
            lag.as_secs_f64(),
        )?;
        self.gauge(
            "lastword_ledger_degraded",
            "1 while endings cannot be stored, else 0.",
            u64::from(failing),
        )?;
        self.counter(
            "lastword_ledger_unrecorded",
            "Endings and attempts that could not be stored: they are in the log only.",
            unrecorded,
        )?;
        self.counter(
            "lastword_recovered_endings",
            "Connections that an earlier process left open, recorded as process_died at start.",
            recovered,
        )
    }

    fn http(&mut self, census: &HttpCensus) -> fmt::Result {
        let mut requests = self.counters(
            "lastword_http_requests",
            "Plain HTTP requests that were to be passed on, by what became of them.",
        )?;
        for (outcome, count) in census.outcomes {
            requests.count(&[("outcome", outcome.as_str())], count)?;
        }
        self.gauge(
            "lastword_http_connections",
            "Clients of plain HTTP that are connected; lastword_connections_open counts none of them.",
            census.connections,
        )
    }

    fn revocations(&mut self, counts: RevocationCounts) -> fmt::Result {
        let RevocationCounts { in_force, closed, refused } = counts;
        self.gauge("lastword_revocations", "Revocations in force.", in_force)?;
        self.counter(
            "lastword_revoked_connections",
            "Connections that were closed because of a revocation.",
            closed,
        )?;
        self.counter(
            "lastword_revoked_attempts",
            "Requests that were refused because of a revocation: opening handshakes, plain HTTP and new tokens.",
            refused,
        )
    }

    fn drain(&mut self, facts: DrainFacts) -> fmt::Result {
        let DrainFacts { draining, left, http_left } = facts;
        self.gauge(
            "lastword_draining",
            "1 while new connections are refused because of a drain, else 0.",
            u64::from(draining),
        )?;
        self.gauge(
            "lastword_drain_left",
            "Connections that the drain has yet to see end; 0 when none runs.",
            left as u64,
        )?;
        self.gauge(
            "lastword_drain_http_left",
            "Plain HTTP clients that the drain has yet to see end; 0 when none runs.",
            http_left,
        )
    }

    fn reloads(&mut self, facts: &ReloadFacts) -> fmt::Result {
        let ReloadFacts { succeeded, failed, read_at, last } = facts;
        self.counter(
            "lastword_reload",
            "Reloads after which the new configuration was in use.",
            *succeeded,
        )?;
        self.counter(
            "lastword_reload_failed",
            "Reloads that changed nothing, because something was wrong with the configuration.",
            *failed,
        )?;
        let is_current = last.as_ref().is_none_or(|last| last.error.is_none());
        self.gauge(
            "lastword_config_last_reload_successful",
            "1 if the last reload succeeded or there was none, else 0.",
            u64::from(is_current),
        )?;
        let read_at = read_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.seconds(
            "lastword_config_last_reload_success_timestamp",
            "When the configuration in use was read, since the Unix epoch.",
            read_at.as_secs_f64(),
        )
    }

    fn process(&mut self, max_connections: u64, started: SystemTime) -> fmt::Result {
        self.gauge(
            "lastword_max_connections",
            "Connections that are allowed at once (limits.max_connections); 0: no limit.",
            max_connections,
        )?;
        self.0
            .encode_descriptor("lastword_build", "The version that runs.", None, MetricType::Info)?
            .encode_info(&[("version", Ending::VERSION)])?;
        let since_epoch = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.seconds(
            "process_start_time",
            "When the process started, since the Unix epoch.",
            since_epoch.as_secs_f64(),
        )?;
        let ProcessFacts { resident_bytes, open_fds, max_fds } = ProcessFacts::read();
        if let Some(bytes) = resident_bytes {
            self.bytes("process_resident_memory", "Resident memory.", bytes)?;
        }
        if let Some(open) = open_fds {
            self.gauge("process_open_fds", "Descriptors that are open.", open)?;
        }
        if let Some(max) = max_fds {
            self.gauge("process_max_fds", "Descriptors that may be open.", max)?;
        }
        Ok(())
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) -> fmt::Result {
        let unit = Some(&Unit::Seconds);
        histogram.encode(self.0.encode_descriptor(name, help, unit, MetricType::Histogram)?)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut counter = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        counter.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn bytes(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let unit = Some(&Unit::Bytes);
        self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn seconds(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let unit = Some(&Unit::Seconds);
        self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn counters<'a>(&'a mut self, name: &'a str, help: &str) -> Result<Family<'a>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, MetricType::Counter).map(Family)
    }

    fn gauges<'a>(&'a mut self, name: &'a str, help: &str) -> Result<Family<'a>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge).map(Family)
    }
}

/// The series of one name.
struct Family<'a>(MetricEncoder<'a>);

impl Family<'_> {
    fn count(&mut self, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
        self.0.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn show(&mut self, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
        self.0.encode_family(labels)?.encode_gauge(&value)
    }
}

fn of_line(line: &CensusLine) -> [(&'static str, &str); 2] {
    [("direction", line.direction.as_str()), ("route", &line.route)]
}

/// Returns the endings of a line, with those at 0 that may come.
fn verdicts(line: &CensusLine) -> impl Iterator<Item = (Verdict, u64)> + '_ {
    let may_come = Kind::OF_CONNECTIONS.into_iter().filter_map(usually);
    let not_yet = may_come.filter(|due| line.ended.iter().all(|(verdict, _)| verdict != due));
    line.ended.iter().copied().chain(not_yet.map(|verdict| (verdict, 0)))
}
