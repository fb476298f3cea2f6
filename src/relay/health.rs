//! The health task of a relay: probes the applications, and ends ejections in time.

use std::future::pending;
use std::sync::{Arc, Weak};

use futures_util::future::join_all;
use tokio::time::sleep_until;

use super::applications::{Application, Applications};
use crate::runtime::now;
use crate::settings::HealthPath;
use crate::transport::http_probe;

/// Runs until the applications are dropped.
pub(super) async fn watch(applications: Weak<Applications>) {
    let mut next_probe = now();
    loop {
        let Some(applications) = applications.upgrade() else { return };
        let settings = applications.settings();
        let path = settings.health_path.as_ref();
        if let Some(path) = path.filter(|_| next_probe <= now()) {
            next_probe = now() + settings.health_interval;
            probe_all(&applications, path).await;
        }
        applications.change(|pool| pool.handle_deadline(now()));
        #[cfg(test)]
        crate::runtime::tasks::panic_points::reach(&applications.all()[0].url);
        let at = [path.map(|_| next_probe), applications.poll_deadline()].into_iter().flatten();
        let (at, changed) = (at.min(), applications.changed());
        // Dropped while waiting: this task must not keep the applications alive.
        drop(applications);
        tokio::select! {
            () = changed.notified() => {}
            () = async { match at {
                Some(at) => sleep_until(at.into()).await,
                None => pending().await,
            } } => {}
        }
    }
}

async fn probe_all(applications: &Arc<Applications>, path: &HealthPath) {
    let probes = applications.all().iter();
    let probes = probes.map(|application| probe(applications, application, path));
    for (n, healthy) in join_all(probes).await.into_iter().enumerate() {
        // It may have left the configuration meanwhile.
        let _ = applications.try_change(n, |pool, n| pool.probed(n, healthy));
    }
}

async fn probe(applications: &Applications, application: &Application, path: &HealthPath) -> bool {
    let Ok(connected) = application.upstream.connect(applications.options()).await else {
        return false;
    };
    let host = application.upstream.authority();
    let within = applications.settings().response_timeout;
    let status = http_probe::status(connected.transport, host, path.target(), within).await;
    status.is_some_and(|status| status.is_success())
}
