//! How the daemon stops: it drains, and accounts for every connection.

use std::time::Duration;

use tracing::{error, info};

use super::manager_status;
use crate::manager::{Accounting, DrainOptions, DrainReport, Supervisor};
use crate::policy::drain::Pace;
use crate::settings::{Drain, Spread};
use crate::surfaces::systemd::Notifier;
use crate::vocabulary::{Requester, Selector};

/// Drains all connections for a signal, and tells the service manager how far it is.
pub(super) async fn drain(
    drain: &Drain,
    supervisor: &Supervisor,
    notifier: &Notifier,
    signal: &'static str,
) -> DrainReport {
    info!(
        signal,
        delay = %humantime::format_duration(drain.delay),
        within = %humantime::format_duration(drain.within),
        "the daemon is stopping"
    );
    let work = async {
        // Load balancers see that the daemon is not ready before it refuses connections.
        tokio::time::sleep(drain.delay).await;
        supervisor.shutdown(options(drain, signal)).await
    };
    tokio::pin!(work);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            report = &mut work => return report,
            _ = tick.tick() => {
                notifier.status(&manager_status::draining(supervisor));
                // Extend the timeout every second: a drain may take longer than TimeoutStopSec.
                notifier.extend_timeout(Duration::from_secs(10));
            }
        }
    }
}

/// Returns the options of a drain for a signal.
pub(super) fn options(drain: &Drain, signal: &'static str) -> DrainOptions {
    DrainOptions {
        within: drain.within,
        pace: match drain.spread {
            Spread::Auto => Pace::Auto,
            Spread::Over(spread) => Pace::Over(spread),
        },
        code: drain.code,
        reason: drain.reason.clone(),
        by: Some(Requester::Signal(signal)),
        select: Selector::default(),
        stay: true,
    }
}

/// Returns the accounting at the end, when every connection must have its ending.
pub(super) fn final_accounting(supervisor: &Supervisor) -> Accounting {
    let accounting = supervisor.accounting();
    if !accounting.balances() || accounting.open > 0 {
        error!(?accounting, "the accounting does not balance: please report this");
    }
    accounting
}
