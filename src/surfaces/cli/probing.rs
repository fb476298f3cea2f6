//! `probe`: tests how a server closes, and prints what was found.

mod junit;
mod listening;
mod painting;

use std::fs;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::arguments::{Probe, header};
use super::console::{Console, Look};
use super::exit::{DONE, FAILED, INTERRUPTED};
use super::failure::Failure;
use super::reading::read_text;
use super::table::{Column, Content, Listing};
use crate::contract::{
    ProbeCaseRecord, ProbeMeasureRecord, ProbeRecord, ProbeSummaryRecord, millis, plain_json,
};
use crate::explanation::wording::{count, lasting};
use crate::probe::{self, Options, Outcome, Report, Target, TargetOptions, Verdict};
use crate::vocabulary::Secret;
use painting::paint;

/// Probes a server, or lists the cases.
pub(super) async fn probe(probe: &Probe, console: &mut Console) -> Result<u8, Failure> {
    if probe.list {
        return list(probe, console);
    }
    if let Some(address) = probe.listen {
        return listening::listen(address, probe, console).await;
    }
    let options = options(probe)?;
    let target = Target::new(target(probe)?).map_err(|error| Failure::Usage(error.to_string()))?;
    let bar = bar(console);
    let progress = |outcome: &Outcome, total: usize| {
        bar.set_length(total as u64);
        bar.set_message(outcome.case.id);
        bar.inc(1);
    };
    let report = tokio::select! {
        report = probe::run(&target, &options, progress) => report,
        Ok(()) = tokio::signal::ctrl_c() => {
            bar.finish_and_clear();
            console.print_note("the probe was interrupted: its connections are closed");
            return Ok(INTERRUPTED);
        }
    };
    bar.finish_and_clear();
    let report = report.map_err(|unreachable| Failure::NotReached(unreachable.to_string()))?;
    if let Some(path) = &probe.junit {
        let wrap = |error| Failure::File { path: path.clone(), error };
        fs::write(path, junit::write(&report)).map_err(wrap)?;
    }
    if probe.json {
        console.print(&json(&report)?)?;
    } else {
        console.print(&text(&report, console.look))?;
    }
    Ok(if report.count(Verdict::Fail) == 0 { DONE } else { FAILED })
}

/// Reads what is in files.
fn target(probe: &Probe) -> Result<TargetOptions, Failure> {
    let mut headers = probe.header.clone();
    if let Some(path) = &probe.header_file {
        let text = read_text(path)?;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            // Without the line, which may hold a secret.
            let refuse = |problem| Failure::Usage(format!("{}: {problem}", path.display()));
            headers.push(header(line).map_err(refuse)?);
        }
    }
    let credentials = probe.proxy_credentials.as_deref().map(read_text).transpose()?;
    Ok(TargetOptions {
        url: probe.url.clone().unwrap_or_default(),
        insecure: probe.insecure,
        ca_file: probe.ca_file.clone(),
        proxy: probe.proxy.clone(),
        proxy_credentials: credentials.map(|text| Secret::new(text.trim())),
        headers,
        subprotocols: probe.subprotocol.clone(),
    })
}

/// Checks the options that depend on each other.
fn options(probe: &Probe) -> Result<Options, Failure> {
    for id in &probe.only {
        let Some(exchange) = probe::find(id) else {
            return Err(Failure::Usage(format!(
                "no case is called {id:?}: `lastword probe --list` lists them"
            )));
        };
        if !probe.full && !exchange.safe {
            return Err(Failure::Usage(format!(
                "{id} is not for production: add --full if this server may be tested with it"
            )));
        }
        if probe.idle.is_none() && exchange.needs == probe::Needs::Idle {
            return Err(Failure::Usage(format!("{id} needs --idle DURATION, such as --idle 90s")));
        }
    }
    if probe.timeout < Duration::from_millis(1) {
        return Err(Failure::Usage("--timeout is zero: write a duration such as 5s".to_owned()));
    }
    Ok(Options {
        full: probe.full,
        only: probe.only.clone(),
        wait: probe.timeout,
        idle: probe.idle,
    })
}

fn bar(console: &Console) -> ProgressBar {
    if !console.watched {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(1);
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} {elapsed} {msg}") {
        bar.set_style(style.progress_chars("#- "));
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn list(probe: &Probe, console: &mut Console) -> Result<u8, Failure> {
    let word = |title, rank| Column { title, rank, content: Content::Word };
    let mut listing = Listing::new([
        word("CASE", 0),
        word("MODE", 1),
        word("RFC", 2),
        Column { title: "WHAT IS EXAMINED", rank: 0, content: Content::Text },
    ]);
    let mut records = Vec::new();
    for exchange in probe::all() {
        let mode = mode(exchange);
        for case in exchange.cases {
            records.push(serde_json::json!({
                "id": case.id, "title": case.title, "rfc": case.rfc, "mode": mode,
                "sent": case.sent, "expected": case.expected,
            }));
            listing.add(vec![case.id.into(), mode.into(), case.rfc.into(), case.title.into()]);
        }
    }
    match probe.json {
        true => console.print(&serde_json::Value::from(records).to_string())?,
        false => console.print(&listing.draw(console.look))?,
    }
    Ok(DONE)
}

fn mode(exchange: &probe::Exchange) -> &'static str {
    match (exchange.needs, exchange.safe) {
        (probe::Needs::Idle, _) => "--idle",
        (probe::Needs::Echo, _) => "echo",
        (probe::Needs::Nothing, true) => "safe",
        (probe::Needs::Nothing, false) => "full",
    }
}

/// Formats a report for people: one line for each case, which is never cut.
fn text(report: &Report, look: Look) -> String {
    let narrowest = |outcome: &Outcome| outcome.case.id.len();
    let width = report.outcomes.iter().map(narrowest).max().unwrap_or_default();
    let mut lines: Vec<String> = report
        .outcomes
        .iter()
        .map(|outcome| {
            let Outcome { case, judgement, observed, .. } = outcome;
            let verdict = paint(judgement.verdict, look);
            let id = case.id;
            match judgement.verdict {
                Verdict::Pass => format!("{verdict}  {id:width$}  {observed}"),
                Verdict::Skipped => format!("{verdict}  {id:width$}  {}", judgement.consequence),
                Verdict::Warn | Verdict::Fail => format!(
                    "{verdict}  {id:width$}  {observed}; due: {} ({}): {}",
                    case.expected,
                    section(case.rfc),
                    judgement.consequence
                ),
            }
        })
        .collect();
    let counts = [
        (Verdict::Pass, "passed"),
        (Verdict::Warn, "warned"),
        (Verdict::Fail, "failed"),
        (Verdict::Skipped, "skipped"),
    ]
    .map(|(verdict, word)| format!("{} {word}", report.count(verdict)));
    lines.push(String::new());
    lines.push(format!(
        "{}: {}; {}, {}",
        report.target,
        counts.join(", "),
        count(report.connections, "connection"),
        lasting(millis(report.took))
    ));
    if let Some(guess) = &report.guess {
        lines.push(format!("a guess at what is there: {guess}"));
    }
    lines.join("\n")
}

/// Returns the section of an RFC in full.
fn section(rfc: &str) -> String {
    if rfc.starts_with("RFC") { rfc.to_owned() } else { format!("RFC 6455 {rfc}") }
}

fn json(report: &Report) -> Result<String, Failure> {
    let record = ProbeRecord {
        target: report.target.as_str().into(),
        started_at: report.started_at,
        duration_ms: millis(report.took),
        version: env!("CARGO_PKG_VERSION"),
        mode: if report.full { "full" } else { "safe" },
        connections: report.connections,
        cases: report.outcomes.iter().map(case).collect(),
        summary: ProbeSummaryRecord {
            pass: report.count(Verdict::Pass),
            warn: report.count(Verdict::Warn),
            fail: report.count(Verdict::Fail),
            skipped: report.count(Verdict::Skipped),
        },
        guess: report.guess.as_deref().map(Into::into),
    };
    plain_json::write(&record).map_err(|error| Failure::Output(error.into()))
}

fn case(outcome: &Outcome) -> ProbeCaseRecord<'_> {
    let Outcome { case, judgement, observed, measured } = outcome;
    let consequence = Some(judgement.consequence.as_str()).filter(|text| !text.is_empty());
    ProbeCaseRecord {
        id: case.id,
        title: case.title,
        rfc: case.rfc,
        sent: case.sent,
        expected: case.expected,
        observed: observed.into(),
        verdict: judgement.verdict.as_str(),
        consequence: consequence.map(Into::into),
        measured: ProbeMeasureRecord {
            status: measured.status,
            close_code: measured.code,
            close_reason: measured.reason.as_deref().map(Into::into),
            close_ms: measured.close_after.map(millis),
            transport_end: measured.end.as_deref().map(Into::into),
            end_ms: measured.end_after.map(millis),
        },
    }
}
