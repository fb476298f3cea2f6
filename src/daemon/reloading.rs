//! Reloads the configuration: everything is read, checked, built and bound first, and only if nothing is
//! wrong is anything changed.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::certificates::Certificates;
use super::control;
use super::failure::StartupError;
use super::leaving::{self, Leaving};
use super::loading::{Loaded, load};
use super::metrics::Shown;
use super::plan::{Plan, Server};
use super::resources::Resources;
use super::routes::{self, InUse};
use super::running::{Running, admission, options};
use crate::config::{Config, Sources};
use crate::manager::{DialerOptions, KeepError, ListenError, ListenerHandle, Route};
use crate::surfaces::control::Tokens;
use crate::surfaces::reloads::{NotReloaded, ReloadRequest, Reloaded};
use crate::surfaces::systemd::Notifier;
use crate::transport::bind::{self, Acceptor, BindError};
use crate::vocabulary::{ListenAddress, Requester};

/// How long reading and checking may take: a file may be on a disk that hangs.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// A configuration that was read, checked and built.
struct Prepared {
    plan: Plan,
    config: Config,
    routes: Vec<Route>,
    certificates: Certificates,
    tokens: Tokens,
    resources: Resources,
}

/// The sockets that were bound for it.
struct Bound {
    /// By the names of the listeners.
    listeners: Vec<(String, Acceptor)>,
    control: Option<Acceptor>,
    health: Option<Acceptor>,
}

impl Running {
    /// Carries out the requests, one after the other, until the process stops.
    ///
    /// # Cancel safety
    /// A reload either has an effect or has none: once it begins to change anything, it does not wait.
    pub(super) async fn serve_reloads(
        &mut self,
        requests: &mut mpsc::Receiver<ReloadRequest>,
        notifier: &Notifier,
    ) -> Infallible {
        loop {
            let Some(request) = requests.recv().await else {
                // Every sender is gone, so that nothing is left to wait for.
                return std::future::pending().await;
            };
            let began = Instant::now();
            info!(by = %request.by, "the configuration is being reloaded");
            notifier.reloading();
            let result = self.reload(&request.by).await;
            let took_ms = began.elapsed().as_millis();
            match &result {
                Ok(Reloaded { changed, needs_restart, .. }) => {
                    let changed = changed.join(", ");
                    info!(by = %request.by, changed, took_ms, "the configuration was reloaded");
                    if !needs_restart.is_empty() {
                        let keys = needs_restart.join(", ");
                        warn!(keys, "some changes take effect only when the daemon is restarted");
                    }
                }
                Err(NotReloaded(problems)) => {
                    for problem in problems {
                        error!("the configuration was not reloaded: {problem}");
                    }
                }
            }
            self.control.reloads.conclude(request, result);
            notifier.ready();
        }
    }

    async fn reload(&mut self, by: &Requester) -> Result<Reloaded, NotReloaded> {
        let prepared = self.prepare().await?;
        let bound = self.bind(&prepared).map_err(|error| NotReloaded(error.sentences()))?;
        self.check_dialers(&prepared).map_err(|error| NotReloaded(error.sentences()))?;
        self.apply(prepared, bound, by)
    }

    /// Reads, checks and builds everything on a thread that may block.
    async fn prepare(&self) -> Result<Prepared, NotReloaded> {
        let (sources, before) = (self.sources.clone(), self.in_use.clone());
        let certificates = self.certificates.clone();
        // One thread at most hangs with a disk.
        let Ok(turn) = Arc::clone(&self.reading).try_lock_owned() else {
            return Err(NotReloaded(vec![
                "the files of an earlier reload are still being read: look at the disk that they are on"
                    .to_owned(),
            ]));
        };
        let preparing = spawn_blocking(move || {
            let _turn = turn;
            prepare(&sources, &before, &certificates)
        });
        match timeout(READ_TIMEOUT, preparing).await {
            Ok(Ok(prepared)) => prepared.map_err(|error| NotReloaded(error.sentences())),
            Ok(Err(panic)) => Err(NotReloaded(vec![format!(
                "reading the configuration panicked ({panic}): please report this"
            )])),
            Err(_) => Err(NotReloaded(vec![format!(
                "reading the configuration and its files took longer than {READ_TIMEOUT:?}: look at \
                 the disk that they are on"
            )])),
        }
    }

    /// Binds the sockets of new listeners, or takes over those of listeners that go.
    fn bind(&self, prepared: &Prepared) -> Result<Bound, StartupError> {
        let Prepared { plan, config, .. } = prepared;
        let added = config.listeners.iter().filter(|one| plan.listeners.added.contains(&one.name));
        let mut listeners = Vec::new();
        for listener in added {
            let name = listener.name.clone();
            let leaving = self.leaving_socket(plan, &listener.listen);
            let acceptor = bind_or(leaving, &listener.listen).map_err(|error| {
                let error = ListenError::Bind(error);
                StartupError::Listener { name: name.clone(), error }
            })?;
            listeners.push((name, acceptor));
        }
        let server = |name, step, address: &Option<ListenAddress>| match (step, address) {
            (Server::Stays | Server::Ends, _) | (_, None) => Ok(None),
            (Server::Again, Some(address)) => {
                bind_or(self.servers.share_socket(name), address).map(Some)
            }
            (Server::Moves, Some(address)) => bind::bind(address).map(Some),
        };
        Ok(Bound {
            listeners,
            control: server("control", plan.control, &config.control.listen)
                .map_err(StartupError::Control)?,
            health: server("health", plan.health, &config.health.listen)
                .map_err(StartupError::Health)?,
        })
    }

    /// Returns the socket of a listener that goes, if it listens at this configured address.
    fn leaving_socket(&self, plan: &Plan, address: &ListenAddress) -> Option<io::Result<Acceptor>> {
        let config = self.config();
        let goes = |name: &str| plan.listeners.removed.iter().any(|removed| removed == name);
        let before =
            config.listeners.iter().find(|one| one.listen == *address && goes(&one.name))?;
        self.listener(&before.name)?.share_socket()
    }

    fn listener(&self, name: &str) -> Option<&ListenerHandle> {
        self.listeners.iter().find(|listener| listener.name() == name)
    }

    /// Checks that the dialers that are new or changed can be made.
    fn check_dialers(&self, prepared: &Prepared) -> Result<(), StartupError> {
        let Prepared { plan, config, .. } = prepared;
        let sections = config.settings();
        for dialer in &config.dialers {
            let (name, options) = (&dialer.name, DialerOptions::of(dialer.clone(), &sections));
            options.check().map_err(KeepError::Url)?;
            // One that was made over the control API is not replaced.
            if plan.dialers.added.contains(name) && self.supervisor.dialer(name).is_some() {
                return Err(KeepError::NameTaken(name.clone()).into());
            }
        }
        Ok(())
    }

    /// Changes everything, without a wait in between.
    fn apply(
        &mut self,
        prepared: Prepared,
        bound: Bound,
        by: &Requester,
    ) -> Result<Reloaded, NotReloaded> {
        let Prepared { plan, config, mut routes, certificates, tokens, resources } = prepared;
        // First, since it alone can be refused.
        if self.config().log.filter != config.log.filter {
            let replaced = self.log_filter.replace(&config.log.filter);
            replaced.map_err(|error| NotReloaded(vec![error.to_string()]))?;
        }
        for (listener, warning) in certificates.warnings() {
            warn!(listener, "{warning}");
        }
        self.set_limits(&config, resources);
        self.control.ledger.set_bounds(&config.ledger);
        routes::succeed(&mut routes, &self.in_use.routes);
        let leaving = leaving::between(&self.in_use, &config);
        self.change_listeners(&plan, &config, &routes, &certificates, bound.listeners);
        self.change_dialers(&plan, &config, by);
        self.control.tokens.replace(tokens);
        self.control.settings.change(|settings| *settings = control::settings(&config));
        match (plan.control, bound.control) {
            (Server::Ends, _) => self.servers.end("control"),
            (_, Some(acceptor)) => {
                self.control.serve(acceptor, certificates.of_control(), &self.servers);
            }
            (_, None) => {}
        }
        match (plan.health, bound.health) {
            (Server::Ends, _) => self.servers.end("health"),
            (_, Some(acceptor)) => {
                self.servers.serve_health(acceptor, certificates.of_health(), &config.health);
            }
            (_, None) => {}
        }
        *self.shown.write() = Shown::of(&config, &resources, &certificates);
        self.drain_leaving(leaving, &config, by);
        self.certificates = certificates;
        self.in_use = InUse { config: Arc::new(config), routes };
        let Plan { changed, needs_restart, listeners, .. } = plan;
        Ok(Reloaded { changed, needs_restart, added: listeners.added, removed: listeners.removed })
    }

    fn set_limits(&mut self, config: &Config, resources: Resources) {
        let supervisor = &self.supervisor;
        supervisor.set_admission(admission(config, &resources));
        if self.resources.memory != resources.memory {
            supervisor.set_memory(resources.memory);
        }
        supervisor.set_handshake_timeout(config.limits.handshake_timeout);
        supervisor.set_records(config.records.clone());
        supervisor.set_dials_per_second(config.limits.dials_per_second);
        supervisor.set_max_revocations(config.control.max_revocations as usize);
        if self.resources != resources {
            resources.log();
        }
        self.resources = resources;
    }

    fn change_listeners(
        &mut self,
        plan: &Plan,
        config: &Config,
        routes: &[Route],
        certificates: &Certificates,
        mut bound: Vec<(String, Acceptor)>,
    ) {
        let mut before = std::mem::take(&mut self.listeners);
        for listener in &config.listeners {
            let (name, options) = (&listener.name, options(listener, certificates));
            if let Some(at) = bound.iter().position(|(other, _)| other == name) {
                let (_, acceptor) = bound.swap_remove(at);
                match self.supervisor.serve(name, || Ok(acceptor), options, routes.to_vec()) {
                    Ok(handle) => {
                        let address = handle.address();
                        info!(listener = name, %address, "the listener accepts");
                        self.listeners.push(handle);
                    }
                    // The supervisor was shut down meanwhile, and everything ends.
                    Err(error) => error!(listener = name, %error, "the listener did not start"),
                }
            } else if let Some(at) = before.iter().position(|handle| handle.name() == name) {
                let handle = before.swap_remove(at);
                self.supervisor.change_listener(&handle, options, routes.to_vec());
                self.listeners.push(handle);
            }
        }
        for handle in before {
            debug_assert!(plan.listeners.removed.iter().any(|name| name == handle.name()));
            let (listener, address) = (handle.name(), handle.address());
            info!(listener, %address, "the listener has stopped accepting");
            handle.retire();
        }
    }

    fn change_dialers(&self, plan: &Plan, config: &Config, by: &Requester) {
        let sections = config.settings();
        let (supervisor, dialers) = (&self.supervisor, &plan.dialers);
        for name in &dialers.removed {
            if let Some(dialer) = supervisor.dialer(name) {
                supervisor.remove_dialer(&dialer, Some(by.clone()));
            }
        }
        for dialer in &config.dialers {
            let (name, options) = (&dialer.name, DialerOptions::of(dialer.clone(), &sections));
            let done = if dialers.added.contains(name) {
                supervisor.keep(options).map(drop)
            } else if dialers.renewed.contains(name) {
                supervisor.change_dialer(options, true).map(drop)
            } else if dialers.adjusted.contains(name) {
                supervisor.change_dialer(options, false).map(drop)
            } else {
                continue;
            };
            // Checked before; the supervisor may have been shut down meanwhile.
            if let Err(error) = done {
                error!(dialer = name, %error, "the dialer was not changed");
            }
        }
    }

    /// Drains the applications that have left the configuration, in the background.
    fn drain_leaving(&mut self, leaving: Leaving, config: &Config, by: &Requester) {
        while self.drains.try_join_next().is_some() {}
        if !leaving.is_empty() {
            let draining = leaving.drain(self.supervisor.clone(), config.drain.clone(), by.clone());
            self.drains.spawn(draining);
        }
    }
}

/// Binds an address, unless there is a socket to take over.
fn bind_or(
    socket: Option<io::Result<Acceptor>>,
    address: &ListenAddress,
) -> Result<Acceptor, BindError> {
    match socket {
        Some(socket) => {
            socket.map_err(|error| BindError::Other { address: address.clone(), error })
        }
        None => bind::bind(address),
    }
}

/// Reads, checks and builds everything. Blocks.
fn prepare(
    sources: &Sources,
    before: &InUse,
    certificates_before: &Certificates,
) -> Result<Prepared, StartupError> {
    let Loaded { config, tokens, mut certificates } =
        load(sources).map_err(StartupError::Config)?;
    let (plan, config) = Plan::new(&before.config, config);
    let routes = routes::rebuild(&config, before)?;
    let resources = Resources::claim(&config);
    certificates.keep(certificates_before);
    Ok(Prepared { plan, config, routes, certificates, tokens, resources })
}
