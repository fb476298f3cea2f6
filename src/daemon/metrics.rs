//! Connects the metrics to their sources.

use std::sync::Arc;

use super::certificates::Certificates;
use super::ledger::DaemonLedger;
use super::resources::Resources;
use crate::config::Config;
use crate::ledger::Health;
use crate::manager::Supervisor;
use crate::surfaces::control::TokenStore;
use crate::surfaces::metrics::{DrainFacts, LedgerFacts, Metrics, MetricsSources, Observations};
use crate::vocabulary::DrainPhase;

/// Renders a scrape; what answers `/metrics` calls it.
pub(super) type Scrape = Arc<dyn Fn() -> String + Send + Sync>;

/// Makes the metrics of the daemon.
pub(super) fn scrape(
    config: &Config,
    resources: &Resources,
    supervisor: &Supervisor,
    ledger: &DaemonLedger,
    (tokens, certificates): (&TokenStore, &Certificates),
    observations: Arc<Observations>,
) -> Scrape {
    let [counted, relaying, passing, asked, revoking, draining] =
        [(); 6].map(|()| supervisor.clone());
    let tokens = tokens.clone();
    // Final once the ledger is open.
    let recovered = ledger.recovered();
    let metrics = Metrics::new(
        observations,
        MetricsSources {
            routes: config.routes.iter().map(|route| route.name.clone()).collect(),
            max_connections: resources.max_connections,
            census: Box::new(move || counted.census()),
            backends: Box::new(move || relaying.backends()),
            http: Box::new(move || passing.http()),
            ledger: Box::new(move || ledger_facts(&asked, recovered)),
            revocations: Box::new(move || revoking.revocation_counts()),
            drain: Box::new(move || drain_facts(&draining)),
            token_file_failed: Box::new(move || tokens.failed()),
            tls: Box::new(certificates.metrics()),
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
