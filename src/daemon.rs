//! The daemon: starts from the configuration, runs until a signal, drains, and returns the exit
//! code.

mod certificates;
mod check;
mod control;
mod doors;
mod heap;
mod ledger;
mod metrics;
mod resources;
mod servers;
mod signals;

use std::io::Write;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::auth::{Auth, BadKeys};
use crate::config::{BackendChoice, Config, ConfigError, LogFormat, Sources, load_all};
use crate::manager::{
    Accounting, Backend, DialerOptions, DrainOptions, DrainReport, KeepError, ListenError,
    ListenOptions, ListenerHandle, Relay, Route, StartError, Supervisor,
};
use crate::policy::admission::AdmissionLimits;
use crate::policy::drain::Pace;
use crate::runtime::tasks::{Task, catch};
use crate::settings::{ConnectionSettings, Spread};
use crate::surfaces::control::TokenStore;
use crate::surfaces::log::{self, EndingLog, Format, LogError};
use crate::surfaces::metrics::Observations;
use crate::surfaces::systemd::Notifier;
use crate::transport::bind::BindError;
use crate::transport::dial::InvalidUrl;
use crate::vocabulary::{
    Event, ListenAddress, Published, Record, Requester, Revocation, RevocationChange,
    RevocationTarget, Selector,
};
use certificates::Certificates;
pub use check::check;
use doors::Doors;
use ledger::{DaemonLedger, LedgerError};
use resources::Resources;
use servers::{Phase, Servers};
use signals::Signals;

/// The daemon stopped cleanly.
const SUCCESS: u8 = 0;
/// The daemon failed, or was forced to stop.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const BAD_USAGE: u8 = 2;

/// How long the process waits at its end for the last endings to be logged.
const LOG_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
enum StartupError {
    #[error("{}", lines(.0))]
    Config(Vec<ConfigError>),
    #[error("log: {0}")]
    Log(#[from] LogError),
    #[error("the runtime could not be started: {0}")]
    Runtime(#[source] std::io::Error),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Supervisor(#[from] StartError),
    #[error("listener {name}: {error}")]
    Listener { name: String, error: ListenError },
    #[error("control: {0}")]
    Control(BindError),
    #[error("route {name}: {error}")]
    Route { name: String, error: InvalidUrl },
    #[error("route {name}: auth: {error}")]
    Auth { name: String, error: BadKeys },
    #[error("health: {0}")]
    Health(BindError),
    #[error("dialers: {0}")]
    Dialer(#[from] KeepError),
}

impl StartupError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Log(_)
            | Self::Route { .. }
            | Self::Auth { .. }
            | Self::Ledger(LedgerError::NoPath) => BAD_USAGE,
            Self::Runtime(_)
            | Self::Ledger(LedgerError::Open(_))
            | Self::Supervisor(_)
            | Self::Listener { .. }
            | Self::Control(_)
            | Self::Health(_)
            | Self::Dialer(_) => FAILED,
        }
    }
}

/// Runs the daemon until a signal stops it; returns its exit code.
///
pub fn serve(sources: &Sources) -> ExitCode {
    match start_and_run(sources) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            print_error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn load(sources: &Sources) -> Result<(Config, Doors), StartupError> {
    let loaded = load_all(sources).map_err(StartupError::Config)?;
    let certificates = Certificates::read(&loaded);
    match (control::read_tokens(&loaded.config.control), certificates) {
        (Ok(tokens), Ok(certificates)) => {
            Ok((loaded.config, Doors { tokens: TokenStore::new(tokens), certificates }))
        }
        (tokens, certificates) => {
            let tokens = tokens.err().map(|error| loaded.unusable(control::TOKEN_FILE, error));
            let certificates = certificates.err().unwrap_or_default();
            Err(StartupError::Config(certificates.into_iter().chain(tokens).collect()))
        }
    }
}

fn start_and_run(sources: &Sources) -> Result<u8, StartupError> {
    heap::fix_malloc_thresholds();
    let (config, doors) = load(sources)?;
    let format = match config.log.format {
        None => Format::fitting_stderr(),
        Some(LogFormat::Text) => Format::Text,
        Some(LogFormat::Json) => Format::Json,
        Some(LogFormat::Journald) => Format::Journald,
    };
    // Dropped last: it writes the lines that are still queued.
    let (ending_log, _lines) = log::install(format, &config.log.filter)?;
    for (listener, warning) in doors.certificates.warnings() {
        warn!(listener, "{warning}");
    }
    let ledger = DaemonLedger::open(&config.ledger)?;
    let resources = Resources::claim(&config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(heap::on_thread_start)
        .build()
        .map_err(StartupError::Runtime)?;
    let (observer_alive, observer_done) = mpsc::channel();
    let running = catch(run(&config, &resources, &ledger, ending_log, observer_alive, doors));
    let code = runtime.block_on(running).unwrap_or_else(|panic| {
        error!(panic, "the daemon panicked and stops: please report this");
        Ok(FAILED)
    });
    // Remaining tasks, such as an answer to a refused attempt, are not worth waiting for.
    runtime.shutdown_timeout(Duration::from_millis(100));
    // After the last ending.
    ledger.close();
    // The observer drops its sender once the last line is logged, which ends this wait.
    let _ = observer_done.recv_timeout(LOG_TIMEOUT);
    code
}

async fn run(
    config: &Config,
    resources: &Resources,
    ledger: &DaemonLedger,
    ending_log: EndingLog,
    observer_alive: mpsc::Sender<()>,
    doors: Doors,
) -> Result<u8, StartupError> {
    // From here on a signal means an orderly stop, even before the daemon is ready.
    let mut signals = Signals::install().map_err(StartupError::Runtime)?;
    let notifier = Notifier::from_env();
    let observations = Arc::new(Observations::default());
    let observed = Arc::clone(&observations);
    let observer = move |published: &Published| {
        // Captured, so that it is dropped with the observer, after the last event.
        let _ = &observer_alive;
        observed.observe(published);
        log_event(&ending_log, published);
    };
    let supervisor = supervisor(config, resources, ledger, observer).await?;
    let scrape = metrics::scrape(config, resources, &supervisor, ledger, &doors, observations);
    let Doors { tokens, certificates } = doors;
    let (phase, current) = watch::channel(Phase::Starting);
    let listeners = listen(config, &supervisor, &certificates).await?;
    let mut servers = Servers::new(servers::probes(&supervisor, current, scrape));
    control::serve(config, &supervisor, ledger, (tokens, certificates.control), &mut servers)
        .map_err(StartupError::Control)?;
    servers.serve_health(config, certificates.health).map_err(StartupError::Health)?;
    let sections = config.settings();
    for dialer in &config.dialers {
        supervisor.keep(DialerOptions::of(dialer.clone(), &sections))?;
    }

    // Before "ready" is printed: its reader may probe at once.
    phase.send_replace(Phase::Running);
    print_ready(&listeners, &servers);
    notifier.ready();
    notifier.status("ready");
    info!(
        node = config.node.resolve_name(),
        max_connections = resources.max_connections,
        memory = resources.memory,
        ledger = %ledger.location(),
        version = env!("CARGO_PKG_VERSION"),
        "the daemon is ready"
    );

    let mut trimming = Task::new("trim");
    let signal = tokio::select! {
        signal = signals.stop() => signal,
        never = trimming.keep(|| heap::trim_when_idle(&supervisor)) => match never {},
        // The supervisor has logged why. The service manager restarts the whole process.
        () = supervisor.gone() => {
            servers.stop().await;
            error!("the daemon stops because its supervisor died");
            return Ok(FAILED);
        }
    };
    phase.send_replace(Phase::Stopping);
    notifier.stopping();
    let report = tokio::select! {
        report = drain(config, &supervisor, &notifier, signal) => report,
        second = signals.stop() => {
            warn!(signal = second, "received a second signal; aborting all connections");
            supervisor.abort_all(Some(Requester::Signal(second)));
            supervisor.shutdown(DrainOptions { within: Duration::ZERO, ..options(config, second) }).await;
            servers.stop().await;
            let Accounting { opened, ended, .. } = final_accounting(&supervisor);
            warn!(opened, ended, "the daemon was forced to stop");
            return Ok(FAILED);
        }
    };
    // Stopped after the drain, so that followers of events see the last ending.
    servers.stop().await;
    let Accounting { opened, ended, .. } = final_accounting(&supervisor);
    info!(
        asked = report.asked,
        cut = report.cut,
        took_ms = report.took.as_millis(),
        opened,
        ended,
        "the daemon stopped"
    );
    Ok(SUCCESS)
}

/// Returns the accounting at the end, when every connection must have its ending.
fn final_accounting(supervisor: &Supervisor) -> Accounting {
    let accounting = supervisor.accounting();
    if !accounting.balances() || accounting.open > 0 {
        error!(?accounting, "the accounting does not balance: please report this");
    }
    accounting
}

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

/// Logs every ending once; attempts of a flood that are only counted are left out.
fn log_event(ending_log: &EndingLog, published: &Published) {
    match (&published.event, published.record) {
        (Event::OpenFailed(_), Record::Counted) => {}
        (Event::Ended(ending) | Event::OpenFailed(ending), Record::Failed) => {
            ending_log.log_whole(ending);
        }
        (Event::Ended(ending) | Event::OpenFailed(ending), _) => ending_log.log(ending),
        (Event::Opened(opened), _) => tracing::debug!(
            target: "lastword::opened",
            id = %opened.id,
            sequence = published.record.sequence(),
            "the connection opened"
        ),
        (Event::Gap(missed), _) => {
            warn!(
                missed,
                "there were too many events: some are missing from this log and the metrics"
            );
        }
        (Event::Revocation(change), _) => log_revocation(change),
        // Dialers and drains log their own lines.
        (Event::Closing(_) | Event::Reconnecting(_) | Event::Dialer(_) | Event::Drain(_), _) => {}
    }
}

fn log_revocation(change: &RevocationChange) {
    let Revocation { number, target, expires_at, by, .. } = &**change.revocation();
    let (subject, jti) = match target {
        RevocationTarget::Subject { subject, .. } => (Some(subject), None),
        RevocationTarget::Token { id } => (None, Some(id)),
    };
    info!(
        revocation = number,
        subject,
        jti,
        expires_at = expires_at.map(|time| humantime::format_rfc3339_millis(time).to_string()),
        by = by.as_ref().map(ToString::to_string),
        "a revocation was {}",
        change.as_str()
    );
}

async fn listen(
    config: &Config,
    supervisor: &Supervisor,
    certificates: &Certificates,
) -> Result<Vec<ListenerHandle>, StartupError> {
    let sections = config.settings();
    let routes: Vec<Route> = config
        .routes
        .iter()
        .map(|route| build_route(&sections, route))
        .collect::<Result<_, _>>()?;
    let mut listening = Vec::new();
    for (listener, tls) in config.listeners.iter().zip(&certificates.listeners) {
        let name = listener.name.clone();
        let options = ListenOptions::default().loaded_tls(tls.clone()).proxies(listener.proxies());
        let bound = supervisor.listen_with(&name, &listener.listen, options, routes.clone()).await;
        listening.push(bound.map_err(|error| StartupError::Listener { name, error })?);
    }
    Ok(listening)
}

fn build_route(
    sections: &ConnectionSettings,
    route: &crate::config::Route,
) -> Result<Route, StartupError> {
    let path = route.path.clone();
    let built = match &route.backend {
        BackendChoice::Echo => Route::serve_at(path, Backend::echo),
        BackendChoice::Relay(settings) => {
            let relay = Relay::new((**settings).clone());
            let name = route.name.clone();
            Route::relay(path, relay.map_err(|error| StartupError::Route { name, error })?)
        }
    };
    let mut built =
        built.with_settings(route.settings(sections)).with_capacity(route.limits.capacity());
    if let Some(auth) = &route.auth {
        let name = route.name.clone();
        let auth = Auth::new(auth).map_err(|error| StartupError::Auth { name, error })?;
        built = built.with_auth(auth);
    }
    built.name = route.name.clone();
    built.host = route.host.clone();
    built.origins = route.origins.clone();
    built.subprotocols = route.subprotocols.clone();
    built.tags = route.tags.clone();
    built.inject = route.inject;
    built.replace = route.replace;
    Ok(built)
}

/// Prints the addresses and "ready" to stdout.
fn print_ready(listeners: &[ListenerHandle], servers: &Servers) {
    for listener in listeners {
        let scheme = if listener.has_tls() { "wss" } else { "ws" };
        match listener.address() {
            ListenAddress::Tcp(address) => {
                print_line(&format!("listener {} {scheme}://{address}", listener.name()))
            }
            ListenAddress::Unix(path) => {
                print_line(&format!("listener {} ws+unix:{}", listener.name(), path.display()));
            }
        }
    }
    for (name, scheme, address) in servers.addresses() {
        match address {
            ListenAddress::Tcp(address) => print_line(&format!("{name} {scheme}://{address}")),
            ListenAddress::Unix(path) => print_line(&format!("{name} unix:{}", path.display())),
        }
    }
    print_line("ready");
}

async fn drain(
    config: &Config,
    supervisor: &Supervisor,
    notifier: &Notifier,
    signal: &'static str,
) -> DrainReport {
    let drain = &config.drain;
    info!(
        signal,
        delay = %humantime::format_duration(drain.delay),
        within = %humantime::format_duration(drain.within),
        "the daemon is stopping"
    );
    let work = async {
        // Load balancers see that the daemon is not ready before it refuses connections.
        tokio::time::sleep(drain.delay).await;
        supervisor.shutdown(options(config, signal)).await
    };
    tokio::pin!(work);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            report = &mut work => return report,
            _ = tick.tick() => {
                let left = match supervisor.accounting().open {
                    1 => "draining: 1 connection left".to_owned(),
                    open => format!("draining: {open} connections left"),
                };
                notifier.status(&match supervisor.http().connections {
                    0 => left,
                    1 => format!("{left}, and 1 plain HTTP client"),
                    clients => format!("{left}, and {clients} plain HTTP clients"),
                });
                // Extend the timeout every second: a drain may take longer than TimeoutStopSec.
                notifier.extend_timeout(Duration::from_secs(10));
            }
        }
    }
}

fn options(config: &Config, signal: &'static str) -> DrainOptions {
    let drain = &config.drain;
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

/// Prints a line to stdout. Ignores errors: a reader that is gone is no reason to stop.
fn print_line(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Joins errors, one per line, with the prefix that [`print_error`] gives the first.
fn lines(errors: &[ConfigError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\nlastword: ")
}

fn print_error(error: &dyn std::error::Error) {
    let _ = writeln!(std::io::stderr().lock(), "lastword: {error}");
}
