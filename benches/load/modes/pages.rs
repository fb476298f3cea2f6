//! Plain HTTP through a relay: CPU per page beside HAProxy and nginx, all in front of the same web
//! server, with keep-alive on both sides.

use super::relay::is_installed;
use super::{Cost, Scale, Side, Turn, compare, cpu_of};
use crate::Result;
use crate::processes::{Server, Subject, number};
use crate::report::Row;

/// The size of a page: a small script, or an answer of an API.
const SIZE: usize = 1300;

/// The goals against HAProxy: required and stretch.
const GOAL: (f64, f64) = (1.5, 1.1);

pub(super) fn measure(scale: &Scale) -> Result<Vec<Row>> {
    let site = Server::start(&Subject::Site(SIZE))?;
    let to = site.address();
    let ours = Subject::PlainRelay(to);
    let (haproxy, nginx) = (Subject::Haproxy(to), Subject::PlainNginx(to));
    let title = |base: &Subject| format!("pages of 1.3 kB, CPU per page against {base}");
    let against = |base: &Subject| -> Result<Row> {
        let cpu = cpu_of(&rounds(scale, (&ours, base))?);
        Ok(Row::ratio(&title(base), "µs", &base.to_string(), &cpu))
    };
    let mut rows = Vec::new();
    rows.push(if is_installed("haproxy") {
        against(&haproxy)?.goal(GOAL.0, GOAL.1)
    } else {
        Row::absent(&title(&haproxy), "HAProxy is not installed")
    });
    rows.push(if is_installed("nginx") {
        against(&nginx)?
    } else {
        Row::absent(&title(&nginx), "nginx is not installed")
    });
    // The web server alone, so that the mode has a row where neither proxy is installed.
    let site = Subject::Site(SIZE);
    rows.push(against(&site)?.note("the site itself, without anything between"));
    Ok(rows)
}

fn rounds(scale: &Scale, sides: (&Subject, &Subject)) -> Result<Vec<(Cost, Cost)>> {
    let fetch = |side: &mut Side| {
        let answer = side.client.ask(&format!("pages {}", scale.turn.as_millis()))?;
        Ok(Turn { done: number(&answer, "pages")?, p99: number(&answer, "p99_us")? })
    };
    let prepare = |side: &mut Side| {
        side.client.ask(&format!("open-pages {}", scale.readers))?;
        fetch(side).map(drop)
    };
    compare(scale, sides, prepare, fetch)
}
