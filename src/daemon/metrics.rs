//! Connects the metrics to their sources.

use std::sync::Arc;

use parking_lot::RwLock;

use super::certificates::Certificates;
use super::ledger::DaemonLedger;
use super::resources::Resources;
use crate::config::Config;
use crate::ledger::Health;
use crate::manager::Supervisor;
use crate::surfaces::control::TokenStore;
use crate::surfaces::metrics::{DrainFacts, LedgerFacts, Metrics, MetricsSources, Observations};
use crate::surfaces::reloads::Reloads;
use crate::vocabulary::DrainPhase;

/// Renders a scrape; what answers `/metrics` calls it.
pub(super) type Scrape = Arc<dyn Fn() -> String + Send + Sync>;

/// What the metrics show of the configuration in use.
pub(super) struct Shown {
    routes: Vec<String>,
    max_connections: u64,
    certificates: Certificates,
}

impl Shown {
    /// Takes what is shown of a configuration.
    pub(super) fn of(config: &Config, resources: &Resources, certificates: &Certificates) -> Self {
        Self {
            routes: config.routes.iter().map(|route| route.name.clone()).collect(),
            max_connections: resources.max_connections,
            certificates: certificates.clone(),
        }
    }
}

/// Makes the metrics of the daemon.
pub(super) fn scrape(
    shown: &Arc<RwLock<Shown>>,
    supervisor: &Supervisor,
    ledger: &DaemonLedger,
    tokens: &TokenStore,
    reloads: &Reloads,
    observations: Arc<Observations>,
) -> Scrape {
    let [routes, most, certificates] = [(); 3].map(|()| Arc::clone(shown));
    let reloads = reloads.clone();
    let [counted, relaying, passing, asked, revoking, draining] =
        [(); 6].map(|()| supervisor.clone());
    let tokens = tokens.clone();
    // Final once the ledger is open.
    let recovered = ledger.recovered();
    let metrics = Metrics::new(
        observations,
        MetricsSources {
            routes: Box::new(move || routes.read().routes.clone()),
            max_connections: Box::new(move || most.read().max_connections),
            census: Box::new(move || counted.census()),
            backends: Box::new(move || relaying.backends()),
            http: Box::new(move || passing.http()),
            ledger: Box::new(move || ledger_facts(&asked, recovered)),
            revocations: Box::new(move || revoking.revocation_counts()),
            drain: Box::new(move || drain_facts(&draining)),
            reloads: Box::new(move || reloads.facts()),
            token_file_failed: Box::new(move || tokens.failed()),
            tls: Box::new(move || certificates.read().certificates.facts()),
        },
    );
    Arc::new(move || metrics.render())
}

fn ledger_facts(supervisor: &Supervisor, recovered: u64) -> LedgerFacts {
    LedgerFacts {
        lag: supervisor.ledger_lag(),
        failing: supervisor.ledger_health() != Health::Good,
        recovered,
    }
}

fn drain_facts(supervisor: &Supervisor) -> DrainFacts {
    let running = supervisor
        .drain_progress()
        .filter(|progress| progress.phase == DrainPhase::Running)
        .map_or((0, 0), |progress| (progress.left.total(), progress.http_left));
    let (left, http_left) = running;
    DrainFacts { draining: supervisor.is_draining(), left, http_left }
}
