//! The metrics, as OpenMetrics text: what Prometheus scrapes.
//!
//! Counters come from one census at the scrape, so that in every scrape opened = open + endings for
//! each direction and route. Only single observations, such as how long a connection was open, are
//! recorded when they are published.

mod exposition;
mod observations;
mod process;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

pub use observations::Observations;
pub(crate) use process::resident_bytes;

use crate::surfaces::reloads::ReloadFacts;
use crate::vocabulary::{BackendStatus, Census, HttpCensus, RevocationCounts};

/// Where the numbers of a scrape come from.
pub struct MetricsSources {
    /// Names the routes of the configuration: their series are there from the first scrape on.
    pub routes: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Says how many connections there may be; 0: no limit.
    pub max_connections: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Counts all connections.
    pub census: Box<dyn Fn() -> Census + Send + Sync>,
    /// Says how the applications behind relays fare.
    pub backends: Box<dyn Fn() -> Vec<BackendStatus> + Send + Sync>,
    /// Counts the plain HTTP that is passed on.
    pub http: Box<dyn Fn() -> HttpCensus + Send + Sync>,
    /// Says what the ledger knows.
    pub ledger: Box<dyn Fn() -> LedgerFacts + Send + Sync>,
    /// Counts the revocations.
    pub revocations: Box<dyn Fn() -> RevocationCounts + Send + Sync>,
    /// Says how the drain fares.
    pub drain: Box<dyn Fn() -> DrainFacts + Send + Sync>,
    /// Says what became of reloads.
    pub reloads: Box<dyn Fn() -> ReloadFacts + Send + Sync>,
    /// Counts changes of the token file that could not be used.
    pub token_file_failed: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Says what is known of certificates.
    pub tls: Box<dyn Fn() -> Vec<TlsFacts> + Send + Sync>,
}

/// What the ledger knows of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LedgerFacts {
    /// For how long the oldest entry that is not yet durable has been waiting.
    pub lag: Duration,
    /// Endings cannot be stored.
    pub failing: bool,
    /// Connections that an earlier process left open, recorded as `process_died` at start.
    pub recovered: u64,
}

/// How a drain fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DrainFacts {
    /// New connections are refused.
    pub draining: bool,
    /// Connections that the drain has yet to see end; 0 when none runs.
    pub left: usize,
    /// Plain HTTP clients that the drain has yet to see end; 0 when none runs.
    pub http_left: u64,
}

/// What is known of the certificates of a listener, of `control` or of `health`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// The name of the listener.
    pub listener: String,
    /// The file of each certificate, and when it expires.
    pub certificates: Vec<(String, SystemTime)>,
    /// How often files were read that could not be used.
    pub refused: u64,
}

/// The metrics of a daemon.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// Makes the metrics of a daemon that starts now.
    pub fn new(observations: Arc<Observations>, sources: MetricsSources) -> Self {
        let started = SystemTime::now();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scraped { observations, sources, started }));
        Self { registry }
    }

    /// Renders a scrape. It looks at every connection: 5 to 15 ms where there are 20,000, so it is
    /// for a thread that may block.
    pub fn render(&self) -> String {
        let mut rendered = String::new();
        // Writing to a string does not fail, and nothing else that is asked can.
        let _ = text::encode(&mut rendered, &self.registry);
        rendered
    }
}

/// All that a scrape takes.
struct Scraped {
    observations: Arc<Observations>,
    sources: MetricsSources,
    started: SystemTime,
}

impl fmt::Debug for Scraped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scraped").finish_non_exhaustive()
    }
}
