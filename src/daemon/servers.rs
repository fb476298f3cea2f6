//! The HTTP servers beside the listeners: the control API and `[health]`.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::metrics::Scrape;
use crate::config::Config;
use crate::ledger::Health;
use crate::manager::Supervisor;
use crate::surfaces::health;
use crate::surfaces::probes::{Probes, Readiness};
use crate::surfaces::serving::Door;
use crate::transport::bind::{self, BindError};
use crate::transport::tls::ServerTls;
use crate::vocabulary::ListenAddress;

/// The phase of the daemon's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not every listener accepts yet.
    Starting,
    /// Every listener accepts.
    Running,
    /// A signal asked it to stop.
    Stopping,
}

/// How long the servers may take to finish their last responses.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The running servers; dropping this ends them at once.
pub(super) struct Servers {
    running: Mutex<Vec<Server>>,
    probes: Probes,
    stop: watch::Sender<bool>,
}

struct Server {
    name: &'static str,
    scheme: &'static str,
    address: ListenAddress,
    task: JoinHandle<()>,
}

impl Servers {
    pub(super) fn new(probes: Probes) -> Self {
        Self { running: Mutex::default(), probes, stop: watch::Sender::new(false) }
    }

    pub(super) fn probes(&self) -> Probes {
        self.probes.clone()
    }

    /// Runs a server until [`Servers::stop`].
    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(
        &self,
        name: &'static str,
        door: Door,
        serve: impl FnOnce(Door, watch::Receiver<bool>) -> F,
    ) {
        // `local_addr` never fails for a listening socket.
        let Ok(address) = door.acceptor.local_addr() else { return };
        let scheme = if door.tls.is_some() { "https" } else { "http" };
        let task = tokio::spawn(serve(door, self.stop.subscribe()));
        self.running.lock().push(Server { name, scheme, address, task });
    }

    /// Serves the probes on the address in `[health]`, if one is set.
    pub(super) fn serve_health(
        &self,
        config: &Config,
        tls: Option<Arc<ServerTls>>,
    ) -> Result<(), BindError> {
        let Some(address) = &config.health.listen else { return Ok(()) };
        let acceptor = bind::bind(address)?;
        let probes = self.probes();
        let timeout = config.health.header_timeout;
        let door = Door { name: "health", acceptor, tls };
        self.spawn("health", door, |door, stop| health::serve(door, probes, timeout, stop));
        Ok(())
    }

    /// Returns their names, schemes and addresses, in the order in which they were started.
    pub(super) fn addresses(&self) -> Vec<(&'static str, &'static str, ListenAddress)> {
        let running = self.running.lock();
        let address = |server: &Server| (server.name, server.scheme, server.address.clone());
        running.iter().map(address).collect()
    }

    /// Stops the servers; waits briefly for requests in progress.
    pub(super) async fn stop(&self) {
        self.stop.send_replace(true);
        let mut running = std::mem::take(&mut *self.running.lock());
        let finished = async {
            for server in &mut running {
                // An error means that the server panicked and has stopped, too.
                let _ = (&mut server.task).await;
            }
        };
        let _ = tokio::time::timeout(STOP_TIMEOUT, finished).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Makes the probes of the daemon.
pub(super) fn probes(
    supervisor: &Supervisor,
    phase: watch::Receiver<Phase>,
    scrape: Scrape,
) -> Probes {
    let supervisor = supervisor.clone();
    let readiness = move || {
        let phase = *phase.borrow();
        match (phase, supervisor.ledger_health()) {
            (Phase::Starting, _) => Readiness::Starting,
            (Phase::Stopping, _) => Readiness::Draining,
            (Phase::Running, _) if supervisor.is_draining() => Readiness::Draining,
            (Phase::Running, Health::Good) => Readiness::Ready,
            (Phase::Running, Health::Failing { problem, refuse: true }) => {
                Readiness::Failing { problem }
            }
            (Phase::Running, Health::Failing { problem, refuse: false }) => {
                Readiness::Degraded { problem }
            }
        }
    };
    Probes::new(Arc::new(readiness), scrape)
}
