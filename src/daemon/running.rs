//! What runs: the supervisor, its listeners and dialers, and the servers beside them.

use std::sync::{Arc, mpsc};

use tokio::sync::watch;
use tracing::info;

use super::certificates::Certificates;
use super::console::print_line;
use super::failure::StartupError;
use super::ledger::DaemonLedger;
use super::loading::Loaded;
use super::observing::log_event;
use super::resources::Resources;
use super::servers::{Phase, Servers};
use super::{control, metrics, routes, servers};
use crate::config::Config;
use crate::manager::{DialerOptions, ListenOptions, ListenerHandle, StartError, Supervisor};
use crate::policy::admission::AdmissionLimits;
use crate::surfaces::control::TokenStore;
use crate::surfaces::log::EndingLog;
use crate::surfaces::metrics::Observations;
use crate::vocabulary::{ListenAddress, Published};

/// What runs.
pub(super) struct Running {
    pub(super) config: Config,
    pub(super) supervisor: Supervisor,
    pub(super) servers: Servers,
    listeners: Vec<ListenerHandle>,
    phase: watch::Sender<Phase>,
}

impl Running {
    /// Starts everything. `observer_alive` is dropped once the last event was logged.
    pub(super) async fn start(
        loaded: Loaded,
        resources: &Resources,
        ledger: &DaemonLedger,
        ending_log: EndingLog,
        observer_alive: mpsc::Sender<()>,
    ) -> Result<Self, StartupError> {
        let Loaded { config, tokens, certificates } = loaded;
        let tokens = TokenStore::new(tokens);
        let observations = Arc::new(Observations::default());
        let observed = Arc::clone(&observations);
        let observer = move |published: &Published| {
            // Captured, so that it is dropped with the observer, after the last event.
            let _ = &observer_alive;
            observed.observe(published);
            log_event(&ending_log, published);
        };
        let supervisor = supervisor(&config, resources, ledger, observer).await?;
        let doors = (&tokens, &certificates);
        let scrape = metrics::scrape(&config, resources, &supervisor, ledger, doors, observations);
        let (phase, current) = watch::channel(Phase::Starting);
        let listeners = listen(&config, &supervisor, &certificates).await?;
        let servers = Servers::new(servers::probes(&supervisor, current, scrape));
        control::serve(&config, &supervisor, ledger, (tokens, certificates.control), &servers)
            .map_err(StartupError::Control)?;
        servers.serve_health(&config, certificates.health).map_err(StartupError::Health)?;
        let sections = config.settings();
        for dialer in &config.dialers {
            supervisor.keep(DialerOptions::of(dialer.clone(), &sections))?;
        }
        Ok(Self { config, supervisor, servers, listeners, phase })
    }

    /// Says which phase of the daemon's life has begun.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Prints the addresses and "ready" to stdout.
    pub(super) fn print_ready(&self) {
        for listener in &self.listeners {
            let scheme = if listener.has_tls() { "wss" } else { "ws" };
            match listener.address() {
                ListenAddress::Tcp(address) => {
                    print_line(&format!("listener {} {scheme}://{address}", listener.name()))
                }
                ListenAddress::Unix(path) => {
                    print_line(&format!("listener {} ws+unix:{}", listener.name(), path.display()));
                }
                // A socket that was passed has its real address here.
                ListenAddress::Systemd(_) => {}
            }
        }
        for (name, scheme, address) in self.servers.addresses() {
            match address {
                ListenAddress::Tcp(address) => print_line(&format!("{name} {scheme}://{address}")),
                ListenAddress::Unix(path) => print_line(&format!("{name} unix:{}", path.display())),
                ListenAddress::Systemd(_) => {}
            }
        }
        print_line("ready");
    }

    /// Logs that everything runs.
    pub(super) fn log_ready(&self, resources: &Resources, ledger: &DaemonLedger) {
        info!(
            node = self.supervisor.node(),
            max_connections = resources.max_connections,
            memory = resources.memory,
            ledger = %ledger.location(),
            version = env!("CARGO_PKG_VERSION"),
            "the daemon is ready"
        );
    }
}

/// Starts the supervisor with the limits of the configuration.
async fn supervisor(
    config: &Config,
    resources: &Resources,
    ledger: &DaemonLedger,
    observer: impl Fn(&Published) + Send + Sync + 'static,
) -> Result<Supervisor, StartError> {
    let limits = &config.limits;
    Supervisor::builder()
        .ledger(ledger.writer())
        .node(config.node.resolve_name())
        .memory(resources.memory)
        .admission(AdmissionLimits {
            max_connections: resources.max_connections,
            max_connections_per_ip: limits.max_connections_per_ip,
            handshakes_per_second: limits.handshakes_per_second,
            accept_rate_per_ip: limits.accept_rate_per_ip,
            half_open_per_ip: limits.half_open_per_ip,
            max_http_connections: resources.max_http_connections,
            http_requests_per_second: limits.http_requests_per_second,
        })
        .handshake_timeout(limits.handshake_timeout)
        .dials_per_second(limits.dials_per_second)
        .max_revocations(config.control.max_revocations as usize)
        .records(config.records.clone())
        .observer(observer)
        .start()
        .await
}

/// Binds the listeners.
async fn listen(
    config: &Config,
    supervisor: &Supervisor,
    certificates: &Certificates,
) -> Result<Vec<ListenerHandle>, StartupError> {
    let routes = routes::build(config)?;
    let mut listening = Vec::new();
    for (listener, tls) in config.listeners.iter().zip(&certificates.listeners) {
        let name = listener.name.clone();
        let options = ListenOptions::default().loaded_tls(tls.clone()).proxies(listener.proxies());
        let bound = supervisor.listen_with(&name, &listener.listen, options, routes.clone()).await;
        listening.push(bound.map_err(|error| StartupError::Listener { name, error })?);
    }
    Ok(listening)
}
