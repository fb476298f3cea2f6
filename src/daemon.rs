//! The daemon: starts from the configuration, runs until a signal, drains, and returns the exit
//! code.

mod activation;
mod certificates;
mod check;
mod console;
mod control;
mod exit_code;
mod failure;
mod heap;
mod leaving;
mod ledger;
mod loading;
mod manager_status;
mod metrics;
mod observing;
mod orphans;
mod plan;
mod reloading;
mod report;
mod resources;
mod routes;
mod running;
mod servers;
mod signals;
mod stopping;
mod watchdog;

use std::process::ExitCode;
use std::sync::mpsc as blocking;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::config::{LogFormat, Sources};
use crate::manager::{Accounting, DrainOptions};
use crate::runtime::tasks::{Owned, Task, catch};
use crate::surfaces::log::{self, Format};
use crate::surfaces::reloads::{ReloadRequest, Reloads};
use crate::surfaces::systemd::Notifier;
use crate::transport::inherited;
use crate::vocabulary::Requester;
pub use check::check;
use console::print_error;
use exit_code::{FAILED, SUCCESS};
use failure::StartupError;
use ledger::DaemonLedger;
use loading::load;
use manager_status::Starting;
use resources::Resources;
use running::{Logging, Running};
use servers::Phase;
use signals::Signals;
use stopping::final_accounting;
use watchdog::Watchdog;

/// How long the process waits at its end for the last endings to be logged.
const LOG_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs the daemon until a signal stops it; returns its exit code.
pub fn serve(sources: &Sources) -> ExitCode {
    match start_and_run(sources) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            print_error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn start_and_run(sources: &Sources) -> Result<u8, StartupError> {
    heap::tune_malloc(resources::address_space());
    // Before the first thread, like the tuning of the heap.
    inherited::claim();
    let loaded = load(sources).map_err(StartupError::Config)?;
    let config = &loaded.config;
    let format = match config.log.format {
        None => Format::fitting_stderr(),
        Some(LogFormat::Text) => Format::Text,
        Some(LogFormat::Json) => Format::Json,
        Some(LogFormat::Journald) => Format::Journald,
    };
    // Dropped last: it writes the lines that are still queued.
    let (ending_log, _lines, filter) = log::install(format, &config.log.filter)?;
    for (listener, warning) in loaded.certificates.warnings() {
        warn!(listener, "{warning}");
    }
    activation::warn_of_unused(config);
    let starting = Starting::begin();
    let ledger = DaemonLedger::open(&config.ledger)?;
    let resources = Resources::claim(config);
    resources.log();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(heap::on_thread_start)
        .build()
        .map_err(StartupError::Runtime)?;
    let (observer_alive, observer_done) = blocking::channel();
    let running = async {
        // From here on a signal means an orderly stop, even before the daemon is ready.
        let (reloads, requests) = Reloads::new();
        let signals = Signals::install(reloads.clone()).map_err(StartupError::Runtime)?;
        let logging = Logging { ending_log, filter, observer_alive };
        let running = Running::start(sources, loaded, resources, &ledger, logging, reloads).await?;
        drop(starting);
        Ok(run(running, signals, requests, &ledger).await)
    };
    let code = runtime.block_on(catch(running)).unwrap_or_else(|panic| {
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

/// Runs until a signal; returns the exit code.
async fn run(
    mut running: Running,
    mut signals: Signals,
    mut requests: mpsc::Receiver<ReloadRequest>,
    ledger: &DaemonLedger,
) -> u8 {
    let notifier = Notifier::from_env();
    let supervisor = &running.supervisor.clone();
    // Until the end, through a drain as well.
    let _reporting = report::at_signals(supervisor, signals.reloads());
    // Before "ready" is printed: its reader may probe at once.
    running.enter(Phase::Running);
    running.print_ready();
    notifier.ready();
    notifier.status("ready");
    running.log_ready(ledger);
    let _watchdog = Watchdog::start(supervisor);
    let _reaping = Owned::spawn(async { match orphans::reap().await {} });

    let mut trimming = Task::new("trim");
    let signal = tokio::select! {
        signal = signals.stop() => signal,
        never = running.serve_reloads(&mut requests, &notifier) => match never {},
        never = trimming.keep(|| heap::trim_when_idle(supervisor)) => match never {},
        never = manager_status::keep(&notifier, supervisor) => match never {},
        // The supervisor has logged why. The service manager restarts the whole process.
        () = supervisor.gone() => {
            running.servers.stop().await;
            error!("the daemon stops because its supervisor died");
            return FAILED;
        }
    };
    // Who waits for a reload is told that there will be none.
    drop(requests);
    running.enter(Phase::Stopping);
    notifier.stopping();
    let settings = &running.config().drain;
    let report = tokio::select! {
        report = stopping::drain(settings, supervisor, &notifier, signal) => report,
        second = signals.stop() => {
            warn!(signal = second, "received a second signal; aborting all connections");
            supervisor.abort_all(Some(Requester::Signal(second)));
            let options = stopping::options(settings, second);
            supervisor.shutdown(DrainOptions { within: Duration::ZERO, ..options }).await;
            running.servers.stop().await;
            let Accounting { opened, ended, .. } = final_accounting(supervisor);
            warn!(opened, ended, "the daemon was forced to stop");
            return FAILED;
        }
    };
    // Stopped after the drain, so that followers of events see the last ending.
    running.servers.stop().await;
    let Accounting { opened, ended, .. } = final_accounting(supervisor);
    info!(
        asked = report.asked,
        cut = report.cut,
        took_ms = report.took.as_millis(),
        opened,
        ended,
        "the daemon stopped"
    );
    SUCCESS
}
