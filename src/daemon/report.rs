//! The report of the daemon's state that SIGUSR1 writes into the log.

use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::explanation::wording::count;
use crate::ledger::Health;
use crate::manager::Supervisor;
use crate::runtime::tasks::Owned;
use crate::surfaces::reloads::{ReloadFacts, Reloads};
use crate::vocabulary::{CloseState, DialerStatus};

/// Writes a report at each SIGUSR1 from now on, until it is dropped.
pub(super) fn at_signals(supervisor: &Supervisor, reloads: &Reloads) -> Option<Owned> {
    let asked = signal(SignalKind::user_defined1());
    let asked = asked.inspect_err(|error| warn!(%error, "SIGUSR1 cannot be handled"));
    let mut asked = asked.ok()?;
    let (supervisor, reloads) = (supervisor.clone(), reloads.clone());
    Some(Owned::spawn(async move {
        while asked.recv().await.is_some() {
            let reported = supervisor.clone();
            // It visits every connection, too long for a worker thread.
            let lines = tokio::task::spawn_blocking(move || lines(&reported)).await;
            let reload = reload(&reloads.facts());
            for line in lines.unwrap_or_default().into_iter().chain([reload]) {
                info!(target: "lastword::report", "{line}");
            }
        }
    }))
}

/// Returns the lines of a report.
fn lines(supervisor: &Supervisor) -> Vec<String> {
    let accounting = supervisor.accounting();
    let accepting = match supervisor.not_accepting() {
        None => "accepting".to_owned(),
        Some(why) => format!("not accepting ({why:?})"),
    };
    let mut lines = vec![format!(
        "report: {accepting}; connections: {} opened, {} open, {} ended",
        accounting.opened, accounting.open, accounting.ended
    )];
    let census = supervisor.census();
    for line in census.lines.iter().filter(|line| line.open.total() > 0) {
        let states = CloseState::ALL.iter().filter(|state| line.open.of(**state) > 0);
        let states: Vec<String> =
            states.map(|state| format!("{} {}", line.open.of(*state), state.as_str())).collect();
        let route = if line.route.is_empty() { "no route" } else { &line.route };
        let direction = line.direction.as_str();
        lines.push(format!("report: {direction}, {route}: {}", states.join(", ")));
    }
    let listeners = supervisor.listeners_alive();
    let names: Vec<&str> = listeners.iter().map(|listener| listener.name.as_str()).collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    lines.push(format!("report: listeners: {names}"));
    lines.extend(supervisor.dialers().iter().map(dialer));
    let http = count(supervisor.http().connections, "client");
    lines.push(format!("report: plain HTTP: {http}"));
    let mib = |bytes: u64| bytes.div_ceil(1024 * 1024);
    lines.push(format!(
        "report: memory: {} of {} MiB in queues and handshakes",
        mib(census.memory_used),
        mib(census.memory_limit)
    ));
    let health = match supervisor.ledger_health() {
        Health::Good => "good".to_owned(),
        Health::Failing { problem, .. } => format!("failing: {problem}"),
    };
    let lag = supervisor.ledger_lag().as_millis();
    lines.push(format!("report: ledger: {health}; the oldest entry has waited for {lag} ms"));
    lines.push(match supervisor.drain_progress() {
        None => "report: drain: none so far".to_owned(),
        Some(drain) => format!(
            "report: drain {}: {}, {} of {} closed, {} left, {} left",
            drain.id,
            drain.phase.as_str(),
            drain.closed,
            drain.total,
            drain.left.total(),
            count(drain.http_left, "plain HTTP client")
        ),
    });
    lines
}

fn reload(facts: &ReloadFacts) -> String {
    let Some(last) = &facts.last else { return "report: reload: none so far".to_owned() };
    let at = humantime::format_rfc3339_millis(last.at);
    match &last.error {
        None => format!("report: reload: the last, at {at} by {}, succeeded", last.by),
        Some(error) => {
            let why = error.to_string().replace('\n', "; ");
            format!("report: reload: the last, at {at} by {}, changed nothing: {why}", last.by)
        }
    }
}

fn dialer(dialer: &DialerStatus) -> String {
    let why = dialer.why.as_ref().map_or(String::new(), |why| format!(" ({why})"));
    format!("report: dialer {}: {}{why}", dialer.name, dialer.phase.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::Route;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_report_says_what_is_open_and_what_is_wrong() {
        let supervisor = Supervisor::builder().start().await.unwrap();
        let routes = vec![Route::echo("/echo").unwrap()];
        let listener =
            supervisor.listen("public", &"127.0.0.1:0".parse().unwrap(), routes).await.unwrap();
        let connection = supervisor.dial(&format!("ws://{}/echo", listener.address()));
        let _connection = connection.receive().await.unwrap();
        let report = lines(&supervisor).join("\n");
        for part in [
            "report: accepting; connections: 2 opened, 2 open, 0 ended",
            "report: inbound, /echo: 1 open",
            "report: outbound, no route: 1 open",
            "report: listeners: public",
            "report: ledger: good",
            "report: drain: none so far",
        ] {
            assert!(report.contains(part), "{part:?} is not in\n{report}");
        }
        supervisor.refuse_new();
        assert!(lines(&supervisor)[0].starts_with("report: not accepting (Asked)"));
    }
}
