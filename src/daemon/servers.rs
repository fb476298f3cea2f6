//! The HTTP servers beside the listeners: the control API and `[health]`.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::metrics::Scrape;
use crate::config::Health;
use crate::ledger;
use crate::manager::Supervisor;
use crate::surfaces::health;
use crate::surfaces::probes::{Probes, Readiness};
use crate::surfaces::serving::Door;
use crate::transport::bind::Acceptor;
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
}

struct Server {
    name: &'static str,
    scheme: &'static str,
    address: ListenAddress,
    acceptor: Weak<Acceptor>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Servers {
    pub(super) fn new(probes: Probes) -> Self {
        Self { running: Mutex::default(), probes }
    }

    pub(super) fn probes(&self) -> Probes {
        self.probes.clone()
    }

    /// Runs a server until [`Servers::stop`], in place of one of the same name.
    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(
        &self,
        door: Door,
        serve: impl FnOnce(Door, watch::Receiver<bool>) -> F,
    ) {
        // `local_addr` never fails for a listening socket.
        let Ok(address) = door.acceptor.local_addr() else { return };
        let (name, acceptor) = (door.name, Arc::downgrade(&door.acceptor));
        let scheme = if door.tls.is_some() { "https" } else { "http" };
        let stop = watch::Sender::new(false);
        let task = tokio::spawn(serve(door, stop.subscribe()));
        self.end(name);
        self.running.lock().push(Server { name, scheme, address, acceptor, stop, task });
    }

    /// Ends the server of this name, which finishes what is under way within a second.
    pub(super) fn end(&self, name: &str) {
        let mut running = self.running.lock();
        running.retain(|server| !server.task.is_finished());
        for server in running.iter().filter(|server| server.name == name) {
            server.stop.send_replace(true);
        }
    }

    /// Returns the socket of the server of this name for another that is to take its place; `None` if
    /// there is no such server.
    pub(super) fn share_socket(&self, name: &str) -> Option<io::Result<Acceptor>> {
        let running = self.running.lock();
        // The latest, if an earlier one still finishes.
        let server = running.iter().rfind(|server| server.name == name)?;
        Some(server.acceptor.upgrade()?.try_clone())
    }

    /// Serves the probes at the address of `[health]`.
    pub(super) fn serve_health(
        &self,
        acceptor: Acceptor,
        tls: Option<Arc<ServerTls>>,
        settings: &Health,
    ) {
        let (probes, timeout) = (self.probes(), settings.header_timeout);
        let door = Door { name: "health", acceptor: Arc::new(acceptor), tls };
        self.spawn(door, |door, stop| health::serve(door, probes, timeout, stop));
    }

    /// Returns their names, schemes and addresses, in the order in which they were started.
    pub(super) fn addresses(&self) -> Vec<(&'static str, &'static str, ListenAddress)> {
        let running = self.running.lock();
        let address = |server: &Server| (server.name, server.scheme, server.address.clone());
        running.iter().map(address).collect()
    }

    /// Stops the servers; waits briefly for requests in progress.
    pub(super) async fn stop(&self) {
        let mut running = std::mem::take(&mut *self.running.lock());
        for server in &running {
            server.stop.send_replace(true);
        }
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
            (Phase::Running, ledger::Health::Good) => Readiness::Ready,
            (Phase::Running, ledger::Health::Failing { problem, refuse: true }) => {
                Readiness::Failing { problem }
            }
            (Phase::Running, ledger::Health::Failing { problem, refuse: false }) => {
                Readiness::Degraded { problem }
            }
        }
    };
    Probes::new(Arc::new(readiness), scrape)
}
