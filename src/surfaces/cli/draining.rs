//! `drain`: starts a drain and watches it.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::api::{Answer, Daemon, path};
use super::arguments::{BackendName, Drain};
use super::console::Console;
use super::exit::{DONE, FAILED, INTERRUPTED};
use super::failure::Failure;
use super::selector::Selected;
use crate::contract::{
    BackendRecord, BackendsRecord, ConnectionPage, DrainRecord, SelectorRecord, StatusRecord,
    millis,
};
use crate::explanation::wording::{count, lasting, safe};

/// The first polling interval of a drain; later ones are longer.
const FIRST_LOOK: Duration = Duration::from_millis(100);
/// The longest polling interval.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The time for peers to answer the last Close with `--rate`, unless `--within` is given.
const AFTER_THE_LAST: Duration = Duration::from_secs(60);

/// Starts or cancels a drain.
pub(super) async fn drain(drain: &Drain, console: &mut Console) -> Result<u8, Failure> {
    let daemon = Daemon::of(&drain.control)?;
    if drain.cancel {
        return cancel(drain, &daemon, console).await;
    }
    let within = within(drain, &daemon).await?;
    let answer = daemon.post(&target(drain), &body(drain, within)).await?;
    let started: DrainRecord<'static> = answer.read()?;
    if started.total == 0 && !is_of_all(&started) && drain.backend.is_none() {
        if console.json {
            console.print_bytes(&answer.body)?;
        }
        return Err(Failure::nothing_matches(&Selected::describe(&started.select)));
    }
    if drain.no_wait {
        return console.show(&answer, |_| {
            Ok(format!(
                "{}: {} to close within {}; `lastword status` shows the progress",
                safe(&Selected::describe(&started.select)),
                count(started.total, "connection"),
                lasting(started.within_ms)
            ))
        });
    }
    tokio::select! {
        done = watch(&daemon, answer, started, console) => done,
        Ok(()) = tokio::signal::ctrl_c() => {
            // The progress bar was dropped with the watcher.
            Console::of_process(false).print_note(
                "\nthe drain continues: `lastword drain --cancel` cancels it, `lastword status` \
                 shows its progress",
            );
            Ok(INTERRUPTED)
        }
    }
}

/// Returns the request target for the drain.
fn target(drain: &Drain) -> String {
    match &drain.backend {
        Some(BackendName { route, number }) => {
            path("/v1/backends", route, &format!("/{number}/drain"))
        }
        None => "/v1/drain".to_owned(),
    }
}

async fn cancel(drain: &Drain, daemon: &Daemon, console: &mut Console) -> Result<u8, Failure> {
    let answer = daemon.delete(&target(drain)).await?;
    console.show(&answer, |_| match drain.backend {
        Some(_) => {
            let backend: BackendRecord<'static> = answer.read()?;
            let (route, url) = (safe(&backend.route), safe(&backend.url));
            Ok(format!("{route}/{} ({url}) is {}", backend.number, safe(&backend.state)))
        }
        None => Ok(cancelled(&answer.read()?)),
    })
}

/// Describes the effect of cancelling a drain; a finished one only stops refusing new connections.
fn cancelled(drain: &DrainRecord<'_>) -> String {
    match &*drain.phase {
        "finished" => format!("{ACCEPTING_AGAIN}; the drain had finished"),
        _ => conclusion(drain),
    }
}

/// Returns the deadline to send with the request.
///
/// With a rate it is computed here, so that no connection is cut off before its turn.
async fn within(drain: &Drain, daemon: &Daemon) -> Result<Option<Duration>, Failure> {
    let Some(rate) = drain.rate else { return Ok(drain.within) };
    if let Some(BackendName { route, number }) = &drain.backend {
        let backends: BackendsRecord<'static> = daemon.get("/v1/backends").await?.read()?;
        let mut of_it = backends
            .backends
            .iter()
            .filter(|backend| backend.route == *route && backend.number == u64::from(*number));
        // If there is no such application, the daemon reports that.
        let open = of_it.next().map_or(0, |backend| backend.connections);
        return within_rate(open, rate, drain.within).map(Some);
    }
    let open = match &drain.select {
        Some(select) if *select != Selected::default() => {
            let (path, filters) = ("/v1/connections", select.query());
            let listed = daemon.list::<ConnectionPage<'static>>(path, &filters, 0, |_| Ok(()));
            listed.await?.items.len() as u64
        }
        Some(_) | None => {
            let status: StatusRecord<'static> = daemon.get("/v1/status").await?.read()?;
            status.accounting.open
        }
    };
    within_rate(open, rate, drain.within).map(Some)
}

fn within_rate(open: u64, rate: u32, within: Option<Duration>) -> Result<Duration, Failure> {
    let needed = Duration::from_millis(open.saturating_mul(1000).div_ceil(u64::from(rate)));
    match within {
        Some(within) if within < needed => Err(Failure::Usage(format!(
            "{} at {rate} per second take {}: set --within to more than that, or raise --rate",
            count(open, "connection"),
            lasting(millis(needed))
        ))),
        Some(within) => Ok(within),
        None => Ok(needed.saturating_add(AFTER_THE_LAST)),
    }
}

fn body(drain: &Drain, within: Option<Duration>) -> Value {
    let mut body = json!({});
    let duration = |time: Duration| humantime::format_duration(time).to_string();
    if let Some(within) = within {
        body["within"] = json!(duration(within));
    }
    if let Some(spread) = drain.spread {
        body["spread"] = json!(duration(spread));
    }
    if let Some(rate) = drain.rate {
        body["rate"] = json!(rate);
    }
    if let Some(code) = drain.code {
        body["code"] = json!(code.get());
    }
    if let Some(reason) = &drain.reason {
        body["reason"] = json!(reason.as_str());
    }
    if let Some(select) = &drain.select {
        body["select"] = select.to_json();
    }
    if drain.stay {
        body["stay"] = json!(true);
    }
    body
}

async fn watch(
    daemon: &Daemon,
    mut answer: Answer,
    started: DrainRecord<'static>,
    console: &mut Console,
) -> Result<u8, Failure> {
    let id = started.id.clone();
    let mut now = started;
    let mut display = Display::new(console, now.total);
    let mut pause = FIRST_LOOK;
    loop {
        if now.id != id {
            display.finish();
            return Err(Failure::Undone(format!(
                "the drain {} is over, and another one runs: {}",
                safe(&id),
                progress(&now)
            )));
        }
        if console.json {
            console.print_bytes(&answer.body)?;
        } else {
            display.show(&now, console);
        }
        match &*now.phase {
            "running" => {}
            phase => {
                display.finish();
                if !console.json {
                    console.print(&conclusion(&now))?;
                }
                return Ok(if phase == "finished" { DONE } else { FAILED });
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(LOOK_EVERY);
        answer = daemon.get("/v1/drain").await?;
        now = answer.read()?;
    }
}

/// A progress bar for a terminal, lines for a log.
enum Display {
    Bar(ProgressBar),
    Lines { last: String },
    Nothing,
}

impl Display {
    fn new(console: &Console, total: u64) -> Self {
        if console.json {
            return Self::Nothing;
        }
        if !console.watched {
            return Self::Lines { last: String::new() };
        }
        let bar = ProgressBar::new(total);
        // The template is a constant that a test draws with.
        let style = ProgressStyle::with_template(TEMPLATE);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let ends = if console.look.unicode { "█▉▊▋▌▍▎▏ " } else { "#>-" };
        bar.set_style(style.progress_chars(ends));
        Self::Bar(bar)
    }

    fn show(&mut self, now: &DrainRecord<'_>, console: &mut Console) {
        match self {
            Self::Bar(bar) => {
                bar.set_length(now.total);
                bar.set_position(now.total.saturating_sub(now.left));
                bar.set_message(left(now));
            }
            Self::Lines { last } => {
                let line = closed_of_total(now);
                if line != *last {
                    console.print_note(&format!("{}: {line}", safe(&now.phase)));
                    *last = line;
                }
            }
            Self::Nothing => {}
        }
    }

    fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

const TEMPLATE: &str = "{bar:30} {pos}/{len} {elapsed}  {wide_msg}";

/// Describes the progress of a drain in one line.
pub(super) fn progress(drain: &DrainRecord<'_>) -> String {
    match &*drain.phase {
        "running" => format!(
            "running: {}, {} of {}",
            closed_of_total(drain),
            lasting(drain.took_ms),
            lasting(drain.within_ms)
        ),
        _ => conclusion(drain),
    }
}

fn closed_of_total(drain: &DrainRecord<'_>) -> String {
    let done = drain.total.saturating_sub(drain.left);
    format!("{done} of {} closed; {}", drain.total, left(drain))
}

/// Describes the connections left, by the state of their closing handshake.
fn left(drain: &DrainRecord<'_>) -> String {
    let stragglers = [
        (drain.stragglers.open, "not closed yet"),
        (drain.stragglers.close_sent, "not answered yet"),
        (drain.stragglers.close_received, "answering"),
        (drain.stragglers.closed, "ending TCP"),
    ];
    let some = stragglers.into_iter().filter(|(count, _)| *count > 0);
    let some: Vec<String> = some.map(|(count, what)| format!("{count} {what}")).collect();
    let connections = if some.is_empty() {
        format!("{} left", drain.left)
    } else {
        format!("{} left ({})", drain.left, some.join(", "))
    };
    match drain.http_left {
        0 => connections,
        clients => format!("{connections}, and {}", count(clients, "plain HTTP client")),
    }
}

fn conclusion(drain: &DrainRecord<'_>) -> String {
    let ended = drain.total.saturating_sub(drain.left);
    let closed = ended.saturating_sub(drain.cut);
    let cut = match drain.cut {
        0 => String::new(),
        cut => format!(", {cut} cut off at the deadline"),
    };
    let left = match drain.left {
        0 => String::new(),
        _ => format!(", {}", left(drain)),
    };
    let acceptance = match (is_of_all(drain), drain.stay && drain.phase == "finished") {
        (false, _) => String::new(),
        (true, false) => format!("; {ACCEPTING_AGAIN}"),
        (true, true) => "; new connections are refused until `lastword drain --cancel`".to_owned(),
    };
    format!(
        "{}: {}, {closed} closed{cut}{left}, in {}{acceptance}",
        safe(&drain.phase),
        count(drain.total, "connection"),
        lasting(drain.took_ms)
    )
}

/// Printed once a drain of all connections has ended without `--stay`.
const ACCEPTING_AGAIN: &str = "new connections are accepted again";

fn is_of_all(drain: &DrainRecord<'_>) -> bool {
    drain.select == SelectorRecord::default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::samples;

    #[test]
    fn a_rate_has_the_time_that_it_needs() {
        let seconds = Duration::from_secs;
        assert_eq!(within_rate(1000, 50, None).unwrap(), seconds(80));
        assert_eq!(within_rate(1000, 50, Some(seconds(30))).unwrap(), seconds(30));
        assert_eq!(within_rate(0, 50, None).unwrap(), seconds(60));
        let short = within_rate(1000, 50, Some(seconds(19)));
        assert!(matches!(short, Err(Failure::Usage(_))));
    }

    #[test]
    fn a_drain_is_described_while_it_runs_and_at_its_end() {
        let mut drain = samples::drain("running");
        assert_eq!(
            progress(&drain),
            "running: 3 of 10 closed; 7 left (4 not closed yet, 2 not answered yet, 1 ending \
             TCP), 12 s of 1 min"
        );
        drain.http_left = 2;
        assert!(progress(&drain).contains("1 ending TCP), and 2 plain HTTP clients, 12 s"));
        drain = samples::drain("finished");
        drain.left = 0;
        drain.stragglers = Default::default();
        assert_eq!(
            progress(&drain),
            "finished: 10 connections, 10 closed, in 12 s; new connections are accepted again"
        );
        (drain.cut, drain.stay) = (2, true);
        assert_eq!(
            progress(&drain),
            "finished: 10 connections, 8 closed, 2 cut off at the deadline, in 12 s; new \
             connections are refused until `lastword drain --cancel`"
        );
        assert_eq!(cancelled(&drain), "new connections are accepted again; the drain had finished");
        drain.select.route = Some("chat".into());
        assert_eq!(
            progress(&drain),
            "finished: 10 connections, 8 closed, 2 cut off at the deadline, in 12 s"
        );
        let cancelled = progress(&samples::drain("cancelled"));
        assert!(
            cancelled.starts_with("cancelled: 10 connections, 3 closed, 7 left ("),
            "{cancelled}"
        );
    }

    #[test]
    fn the_bar_can_be_drawn() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
