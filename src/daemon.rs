//! The daemon: build, spawn, ready, signals, drain, exit code.

mod check;
mod control;
mod ledger;
mod memory;
mod metrics;
mod resources;
mod servers;
mod signals;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::config::{
    Backend as BackendChoice, Config, ConfigError, LogFormat, Sources, Spread, load_all,
};
use crate::manager::{
    Accounting, Backend, DialerOptions, DrainOptions, DrainReport, KeepError, ListenError,
    ListenerHandle, Relay, Route, StartError, Supervisor,
};
use crate::policy::admission::AdmissionLimits;
use crate::policy::drain::Pace;
use crate::runtime::tasks::{Task, catch};
use crate::surfaces::control::Tokens;
use crate::surfaces::log::{self, EndingLog, Format, LogError};
use crate::surfaces::metrics::Observations;
use crate::surfaces::systemd::Notifier;
use crate::transport::bind::BindError;
use crate::transport::dial::InvalidUrl;
use crate::vocabulary::{Event, ListenAddress, Published, Record, Requester, Selector};
pub use check::check;
use ledger::{Books, LedgerError};
use resources::Resources;
use servers::{Phase, Servers};
use signals::Signals;

/// The daemon stopped cleanly.
const STOPPED: u8 = 0;
/// The daemon failed, or was forced to stop.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const BAD_USAGE: u8 = 2;

/// How long the end of the process waits for the last endings to be logged.
const LAST_LINES: Duration = Duration::from_secs(2);

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
            | Self::Ledger(LedgerError::NoPlace) => BAD_USAGE,
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

/// Runs the daemon until it is told to stop; returns its exit code.
///
/// With the URL of an application, every path that no route takes is relayed to it.
pub fn serve(files: Vec<PathBuf>, set: Vec<String>, relay: Option<String>) -> ExitCode {
    match start_and_run(&Sources { relay, ..Sources::of_process(files, set) }) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn load(sources: &Sources) -> Result<(Config, Tokens), StartupError> {
    let loaded = load_all(sources).map_err(StartupError::Config)?;
    match control::read_tokens(&loaded.config.control) {
        Ok(tokens) => Ok((loaded.config, tokens)),
        Err(error) => Err(StartupError::Config(vec![loaded.unusable(control::TOKEN_FILE, error)])),
    }
}

fn start_and_run(sources: &Sources) -> Result<u8, StartupError> {
    memory::keep_large_blocks_apart();
    let (config, tokens) = load(sources)?;
    let format = match config.log.format {
        None => Format::fitting_stderr(),
        Some(LogFormat::Text) => Format::Text,
        Some(LogFormat::Json) => Format::Json,
        Some(LogFormat::Journald) => Format::Journald,
    };
    // Dropped last: it writes out what is still queued.
    let (ending_log, _lines) = log::install(format, &config.log.filter)?;
    let books = Books::open(&config.ledger)?;
    let resources = Resources::claim(&config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(memory::on_thread_start)
        .build()
        .map_err(StartupError::Runtime)?;
    let (told, all_told) = mpsc::channel();
    let running = catch(run(&config, &resources, &books, ending_log, told, tokens));
    let code = runtime.block_on(running).unwrap_or_else(|panic| {
        error!(panic, "the daemon panicked, and stops: please report this");
        Ok(FAILED)
    });
    // What is still under way, such as an answer to a refused attempt, is not worth waiting for.
    runtime.shutdown_timeout(Duration::from_millis(100));
    // Behind the last ending.
    books.close();
    // The observer is dropped, and its end of the channel with it, once the last line is logged.
    let _ = all_told.recv_timeout(LAST_LINES);
    code
}

async fn run(
    config: &Config,
    resources: &Resources,
    books: &Books,
    ending_log: EndingLog,
    told: mpsc::Sender<()>,
    tokens: Tokens,
) -> Result<u8, StartupError> {
    // From here on a signal is an orderly stop, even before the daemon is ready.
    let mut signals = Signals::install().map_err(StartupError::Runtime)?;
    let notifier = Notifier::from_env();
    let observations = Arc::new(Observations::default());
    let observed = Arc::clone(&observations);
    let observer = move |published: &Published| {
        // Dropped with the observer: it says that the last event is told.
        let _ = &told;
        observed.observe(published);
        log_event(&ending_log, published);
    };
    let supervisor = supervisor(config, resources, books, observer).await?;
    let scrape = metrics::scrape(config, resources, &supervisor, books, observations);
    let (phase, current) = watch::channel(Phase::Starting);
    let listeners = listen(config, &supervisor).await?;
    let mut servers = Servers::new(servers::probes(&supervisor, current, scrape));
    control::serve(config, &supervisor, books, tokens, &mut servers)?;
    servers.serve_health(config)?;
    for dialer in &config.dialers {
        supervisor.keep(DialerOptions::of(dialer.clone(), config))?;
    }

    // Before it is said: whoever reads "ready" may probe at once.
    phase.send_replace(Phase::Running);
    announce(&listeners, &servers);
    notifier.ready();
    notifier.status("ready");
    info!(
        node = config.node.resolve_name(),
        max_connections = resources.max_connections,
        memory = resources.memory,
        ledger = %books.place(),
        version = env!("CARGO_PKG_VERSION"),
        "ready"
    );

    let mut trimming = Task::new("trim");
    let signal = tokio::select! {
        signal = signals.stop() => signal,
        never = trimming.keep(|| memory::look_after(&supervisor)) => match never {},
        // It has logged why. What restarts this process makes all of it anew.
        () = supervisor.gone() => {
            servers.stop().await;
            error!("the daemon stops, since its supervisor has died");
            return Ok(FAILED);
        }
    };
    phase.send_replace(Phase::Stopping);
    notifier.stopping();
    let report = tokio::select! {
        report = drain(config, &supervisor, &notifier, signal) => report,
        second = signals.stop() => {
            warn!(signal = second, "a second signal: aborting all connections");
            supervisor.abort_all(Some(Requester::Signal(second)));
            supervisor.shutdown(DrainOptions { within: Duration::ZERO, ..options(config, second) }).await;
            servers.stop().await;
            let Accounting { opened, ended, .. } = balanced(&supervisor);
            warn!(opened, ended, "forced to stop");
            return Ok(FAILED);
        }
    };
    // Whoever follows events hears of the last ending, too.
    servers.stop().await;
    let Accounting { opened, ended, .. } = balanced(&supervisor);
    info!(
        asked = report.asked,
        cut = report.cut,
        took_ms = report.took.as_millis(),
        opened,
        ended,
        "stopped"
    );
    Ok(STOPPED)
}

/// Returns the books at the end, when every connection must have its ending.
fn balanced(supervisor: &Supervisor) -> Accounting {
    let accounting = supervisor.accounting();
    if !accounting.balances() || accounting.open > 0 {
        error!(?accounting, "the books do not balance: please report this");
    }
    accounting
}

async fn supervisor(
    config: &Config,
    resources: &Resources,
    books: &Books,
    observer: impl Fn(&Published) + Send + Sync + 'static,
) -> Result<Supervisor, StartError> {
    let limits = &config.limits;
    Supervisor::builder()
        .ledger(books.ledger())
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
        .records(config.records.clone())
        .observer(observer)
        .start()
        .await
}

/// Logs what is worth a line: every ending, once.
fn log_event(ending_log: &EndingLog, published: &Published) {
    match (&published.event, published.record) {
        // One of a flood.
        (Event::OpenFailed(_), Record::Counted) => {}
        (Event::Ended(ending) | Event::OpenFailed(ending), Record::Failed) => {
            ending_log.log_whole(ending);
        }
        (Event::Ended(ending) | Event::OpenFailed(ending), _) => ending_log.log(ending),
        (Event::Opened(opened), _) => tracing::debug!(
            target: "lastword::opened",
            id = %opened.id,
            sequence = published.record.sequence(),
            "opened"
        ),
        (Event::Gap(missed), _) => {
            warn!(missed, "events are missing in this log and in the metrics: there were too many");
        }
        // Dialers have lines of their own.
        (Event::Closing(_) | Event::Reconnecting(_) | Event::Dialer(_) | Event::Drain(_), _) => {}
    }
}

async fn listen(
    config: &Config,
    supervisor: &Supervisor,
) -> Result<Vec<ListenerHandle>, StartupError> {
    let routes: Vec<Route> =
        config.routes.iter().map(|route| build_route(config, route)).collect::<Result<_, _>>()?;
    let mut listening = Vec::new();
    for listener in &config.listeners {
        let name = listener.name.clone();
        let bound = supervisor.listen(&name, &listener.listen, routes.clone()).await;
        listening.push(bound.map_err(|error| StartupError::Listener { name, error })?);
    }
    Ok(listening)
}

fn build_route(config: &Config, route: &crate::config::Route) -> Result<Route, StartupError> {
    let path = route.path.clone();
    let built = match &route.backend {
        BackendChoice::Echo => Route::serve_at(path, Backend::echo),
        BackendChoice::Relay(settings) => {
            let relay = Relay::new((**settings).clone());
            let name = route.name.clone();
            Route::relay(path, relay.map_err(|error| StartupError::Route { name, error })?)
        }
    };
    let mut built = built.with_settings(route.settings(config));
    built.name = route.name.clone();
    built.host = route.host.clone();
    built.origins = route.origins.clone();
    built.subprotocols = route.subprotocols.clone();
    built.tags = route.tags.clone();
    built.inject = route.inject;
    Ok(built)
}

/// Tells whoever started the daemon where it is, and that it is ready.
fn announce(listeners: &[ListenerHandle], servers: &Servers) {
    for listener in listeners {
        match listener.address() {
            ListenAddress::Tcp(address) => {
                say(&format!("listener {} ws://{address}", listener.name()))
            }
            ListenAddress::Unix(path) => {
                say(&format!("listener {} ws+unix:{}", listener.name(), path.display()));
            }
        }
    }
    for (name, address) in servers.addresses() {
        match address {
            ListenAddress::Tcp(address) => say(&format!("{name} http://{address}")),
            ListenAddress::Unix(path) => say(&format!("{name} unix:{}", path.display())),
        }
    }
    say("ready");
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
        "stopping"
    );
    let work = async {
        // Load balancers see that it is not ready before anybody is refused.
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
                    clients => format!("{left}, and plain HTTP of {clients} under way"),
                });
                // Every second asks for some more: a drain may take longer than TimeoutStopSec.
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

/// Prints a line. Whoever started the daemon may have stopped reading; that is no reason to stop.
fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Puts each error on a line of its own, as [`complain`] begins the first.
fn lines(errors: &[ConfigError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\nlastword: ")
}

fn complain(error: &dyn std::error::Error) {
    let _ = writeln!(std::io::stderr().lock(), "lastword: {error}");
}
