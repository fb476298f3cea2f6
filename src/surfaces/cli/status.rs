//! `status`: the state of the daemon.

use super::api::Daemon;
use super::arguments::Status;
use super::console::Console;
use super::draining;
use super::exit::DONE;
use super::failure::Failure;
use super::reloading;
use super::table::draw_pairs;
use crate::contract::StatusRecord;
use crate::explanation::wording::{count, lasting, safe, utc};

/// Shows the state of the daemon.
pub(super) async fn status(status: &Status, console: &mut Console) -> Result<u8, Failure> {
    let daemon = Daemon::of(&status.control)?;
    let answer = daemon.get("/v1/status").await?;
    if status.quiet {
        let _: StatusRecord<'_> = answer.read()?;
        return Ok(DONE);
    }
    console.show(&answer, |look| Ok(draw_pairs(&whole(&answer.read()?), look)))
}

fn whole(status: &StatusRecord<'_>) -> Vec<(String, String)> {
    let accounting = &status.accounting;
    let balance = if accounting.balanced {
        format!(
            "{} opened = {} open + {} ended",
            accounting.opened, accounting.open, accounting.ended
        )
    } else {
        format!(
            "{} opened, {} open, {} ended: this does not add up, which is a defect of lastword; \
             please report it with the log",
            accounting.opened, accounting.open, accounting.ended
        )
    };
    let mut pairs = vec![
        ("node", format!("{} (lastword {})", safe(&status.node), safe(&status.version))),
        ("phase", phase(status)),
        ("started", format!("{}, {} ago", utc(status.started_at), lasting(status.uptime_ms))),
        ("connections", count(accounting.open, "open connection")),
        ("accounting", balance),
        ("ledger", ledger(status)),
    ];
    if let Some(drain) = &status.drain {
        pairs.push(("drain", draining::progress(drain)));
    }
    if let Some(reload) = &status.last_reload {
        pairs.push(("last reload", reloading::last(reload)));
    }
    pairs.into_iter().map(|(name, text)| (name.to_owned(), text)).collect()
}

fn phase(status: &StatusRecord<'_>) -> String {
    match &status.accepting_why {
        Some(why) => format!("{}, new connections are refused: {}", safe(&status.phase), safe(why)),
        None => safe(&status.phase).into_owned(),
    }
}

fn ledger(status: &StatusRecord<'_>) -> String {
    let ledger = &status.ledger;
    let mut text = safe(&ledger.state).into_owned();
    if let Some(problem) = &ledger.problem {
        text.push_str(&format!(": {}", safe(problem)));
    }
    if ledger.unrecorded > 0 {
        text.push_str(&format!(
            "; {} could not be stored since the start (see the log)",
            count(ledger.unrecorded, "ending")
        ));
    }
    if ledger.recovered > 0 {
        text.push_str(&format!(
            "; {} of the previous process recorded as process_died",
            count(ledger.recovered, "connection")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::samples;
    use crate::surfaces::cli::console::Look;

    #[test]
    fn a_daemon_that_fares_well_says_so_in_few_lines() {
        assert_eq!(
            draw_pairs(&whole(&samples::status()), Look::PLAIN),
            "node         a1 (lastword 0.1.0)\n\
             phase        running\n\
             started      2026-03-01 12:00:00.250 UTC, 3 h 12 min ago\n\
             connections  3 open connections\n\
             accounting   10 opened = 3 open + 7 ended\n\
             ledger       good"
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let mut status = samples::status();
        status.accounting.balanced = false;
        status.accounting.ended = 6;
        status.ledger.state = "degraded".into();
        status.ledger.problem = Some("the disk is full: make room".into());
        status.ledger.unrecorded = 1;
        status.ledger.recovered = 2;
        status.drain = Some(samples::drain("running"));
        let drawn = draw_pairs(&whole(&status), Look::PLAIN);
        for part in [
            "does not add up",
            "degraded: the disk is full: make room; 1 ending could not be stored",
            "2 connections of the previous process",
            "running: 3 of 10 closed",
        ] {
            assert!(drawn.contains(part), "{part}\n{drawn}");
        }
    }
}
