//! Watches over the applications behind a relay: asks them whether they are well, and tells when an
//! ejection is over.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::time::sleep_until;

use super::applications::{Application, Applications};
use crate::config::HealthPath;
use crate::supervision::now;
use crate::transport::http_probe;

/// How often to look whether an ejection is over that had not begun at the last look.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Watches until nobody has the applications any more.
pub(super) async fn watch(applications: Weak<Applications>) {
    let mut next_probe = now();
    loop {
        let Some(applications) = applications.upgrade() else { return };
        let settings = applications.settings();
        let asked = settings.health_path.clone();
        if let Some(path) = &asked
            && next_probe <= now()
        {
            next_probe = now() + settings.health_interval;
            probe_all(&applications, path).await;
        }
        applications.change(|pool| pool.handle_deadline(now()));
        let ejection = applications.poll_deadline();
        drop(applications);
        let at = [asked.map(|_| next_probe), ejection, Some(now() + LOOK_AGAIN)];
        // The last one is always there.
        let at = at.into_iter().flatten().min().unwrap_or_else(Instant::now);
        sleep_until(at.into()).await;
    }
}

async fn probe_all(applications: &Arc<Applications>, path: &HealthPath) {
    let probes =
        applications.all().iter().map(|application| probe(applications, application, path));
    let healthy = futures_util::future::join_all(probes).await;
    for (n, healthy) in healthy.into_iter().enumerate() {
        // There are as many as the pool has.
        applications.change(|pool| pool.probed(n, healthy).ok().flatten());
    }
}

async fn probe(applications: &Applications, application: &Application, path: &HealthPath) -> bool {
    let Ok(connected) = application.upstream.connect(applications.terms()).await else {
        return false;
    };
    let host = application.upstream.authority();
    let within = applications.settings().response_timeout;
    let status = http_probe::status(connected.transport, host, path.target(), within).await;
    status.is_some_and(|status: StatusCode| status.is_success())
}
