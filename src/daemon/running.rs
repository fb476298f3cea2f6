//! What runs, with the configuration that is in use: the supervisor, its listeners and dialers, and the
//! servers beside them.

use std::sync::{Arc, mpsc};

use parking_lot::RwLock;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tracing::info;

use super::certificates::Certificates;
use super::console::print_line;
use super::control;
use super::failure::StartupError;
use super::ledger::DaemonLedger;
use super::loading::Loaded;
use super::metrics::{self, Shown};
use super::observing::log_event;
use super::resources::Resources;
use super::routes::{self, InUse};
use super::servers::{self, Phase, Servers};
use crate::config::{Config, Sources};
use crate::manager::{DialerOptions, ListenOptions, ListenerHandle, StartError, Supervisor};
use crate::policy::admission::AdmissionLimits;
use crate::surfaces::control::{LiveSettings, Started, TokenStore};
use crate::surfaces::log::{EndingLog, LogFilter};
use crate::surfaces::metrics::Observations;
use crate::surfaces::reloads::Reloads;
use crate::transport::bind;
use crate::vocabulary::{ListenAddress, Published};

/// What runs, with the configuration that is in use.
pub(super) struct Running {
    pub(super) sources: Sources,
    pub(super) in_use: InUse,
    pub(super) resources: Resources,
    pub(super) certificates: Certificates,
    pub(super) supervisor: Supervisor,
    pub(super) listeners: Vec<ListenerHandle>,
    pub(super) control: control::Serving,
    pub(super) servers: Servers,
    pub(super) shown: Arc<RwLock<Shown>>,
    pub(super) log_filter: LogFilter,
    /// Held while the configuration is read again.
    pub(super) reading: Arc<Mutex<()>>,
    /// The drains of applications that have left the configuration.
    pub(super) drains: JoinSet<()>,
    phase: watch::Sender<Phase>,
}

/// How the daemon logs.
pub(super) struct Logging {
    pub(super) ending_log: EndingLog,
    pub(super) filter: LogFilter,
    /// Dropped once the last event was logged.
    pub(super) observer_alive: mpsc::Sender<()>,
}

impl Running {
    /// Starts everything.
    pub(super) async fn start(
        sources: &Sources,
        loaded: Loaded,
        resources: Resources,
        ledger: &DaemonLedger,
        logging: Logging,
        reloads: Reloads,
    ) -> Result<Self, StartupError> {
        let Loaded { config, tokens, certificates } = loaded;
        let Logging { ending_log, filter, observer_alive } = logging;
        let tokens = TokenStore::new(tokens);
        let observations = Arc::new(Observations::default());
        let observed = Arc::clone(&observations);
        let observer = move |published: &Published| {
            // Captured, so that it is dropped with the observer, after the last event.
            let _ = &observer_alive;
            observed.observe(published);
            log_event(&ending_log, published);
        };
        let supervisor = supervisor(&config, &resources, ledger, observer).await?;
        let shown = Arc::new(RwLock::new(Shown::of(&config, &resources, &certificates)));
        let scrape = metrics::scrape(&shown, &supervisor, ledger, &tokens, &reloads, observations);
        let (phase, current) = watch::channel(Phase::Starting);
        let routes = routes::build(&config)?;
        let mut listeners = Vec::new();
        for listener in &config.listeners {
            let name = listener.name.clone();
            let options = options(listener, &certificates);
            let bind = || bind::bind(&listener.listen);
            let bound = supervisor.serve(&name, bind, options, routes.clone());
            listeners.push(bound.map_err(|error| StartupError::Listener { name, error })?);
        }
        let servers = Servers::new(servers::probes(&supervisor, current, scrape));
        let control = control::Serving {
            supervisor: supervisor.clone(),
            ledger: ledger.clone(),
            tokens,
            settings: LiveSettings::new(control::settings(&config)),
            reloads,
            started: Started::now(),
        };
        if let Some(address) = &config.control.listen {
            let acceptor = bind::bind(address).map_err(StartupError::Control)?;
            control.serve(acceptor, certificates.of_control(), &servers);
        }
        if let Some(address) = &config.health.listen {
            let acceptor = bind::bind(address).map_err(StartupError::Health)?;
            servers.serve_health(acceptor, certificates.of_health(), &config.health);
        }
        let sections = config.settings();
        for dialer in &config.dialers {
            supervisor.keep(DialerOptions::of(dialer.clone(), &sections))?;
        }
        Ok(Self {
            sources: sources.clone(),
            in_use: InUse { config: Arc::new(config), routes },
            resources,
            certificates,
            supervisor,
            listeners,
            control,
            servers,
            shown,
            log_filter: filter,
            reading: Arc::default(),
            drains: JoinSet::new(),
            phase,
        })
    }

    /// Returns the configuration in use.
    pub(super) fn config(&self) -> &Arc<Config> {
        &self.in_use.config
    }

    /// Says which phase of the daemon's life has begun.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Prints the addresses and "ready" to stdout.
    pub(super) fn print_ready(&self) {
        for listener in &self.listeners {
            let scheme = if listener.has_tls() { "wss" } else { "ws" };
            let name = format!("listener {}", listener.name());
            print_address(&name, scheme, "ws+unix", listener.address());
        }
        for (name, scheme, address) in self.servers.addresses() {
            print_address(name, scheme, "unix", &address);
        }
        print_line("ready");
    }

    /// Logs that everything runs.
    pub(super) fn log_ready(&self, ledger: &DaemonLedger) {
        info!(
            node = self.supervisor.node(),
            max_connections = self.resources.max_connections,
            memory = self.resources.memory,
            ledger = %ledger.location(),
            version = env!("CARGO_PKG_VERSION"),
            "the daemon is ready"
        );
    }
}

/// Prints the address of a socket that listens.
fn print_address(name: &str, scheme: &str, scheme_of_unix: &str, address: &ListenAddress) {
    match address {
        ListenAddress::Tcp(address) => print_line(&format!("{name} {scheme}://{address}")),
        ListenAddress::Unix(path) => {
            print_line(&format!("{name} {scheme_of_unix}:{}", path.display()));
        }
        // A socket that was passed has its real address here.
        ListenAddress::Systemd(_) => {}
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
        .admission(admission(config, resources))
        .handshake_timeout(limits.handshake_timeout)
        .dials_per_second(limits.dials_per_second)
        .max_revocations(config.control.max_revocations as usize)
        .records(config.records.clone())
        .observer(observer)
        .start()
        .await
}

/// Returns the limits on clients.
pub(super) fn admission(config: &Config, resources: &Resources) -> AdmissionLimits {
    let limits = &config.limits;
    AdmissionLimits {
        max_connections: resources.max_connections,
        max_connections_per_ip: limits.max_connections_per_ip,
        handshakes_per_second: limits.handshakes_per_second,
        accept_rate_per_ip: limits.accept_rate_per_ip,
        half_open_per_ip: limits.half_open_per_ip,
        max_http_connections: resources.max_http_connections,
        http_requests_per_second: limits.http_requests_per_second,
    }
}

/// Returns the options of a listener.
pub(super) fn options(
    listener: &crate::config::Listener,
    certificates: &Certificates,
) -> ListenOptions {
    let tls = certificates.of_listener(&listener.name);
    ListenOptions::default().loaded_tls(tls).proxies(listener.proxies())
}
