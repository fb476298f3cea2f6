//! The relay: CPU per message beside nginx and HAProxy, all in front of the same echo.

use std::process::{Command, Stdio};

use super::{Cost, Scale, Side, Turn, compare, cpu_of};
use crate::Result;
use crate::processes::{Server, Subject, number};
use crate::report::Row;

/// Size and depth of the load, its name, and the goals against nginx: required and stretch.
const LOADS: [(usize, usize, &str, (f64, f64)); 3] = [
    (32, 1, "32 B depth 1", (1.7, 1.2)),
    (1024, 16, "1 KiB depth 16", (1.0, 0.8)),
    (16 * 1024, 1, "16 KiB depth 1", (0.7, 0.6)),
];

pub(super) fn measure(scale: &Scale) -> Result<Vec<Row>> {
    let application = Server::start(&Subject::Batch(16 * 1024))?;
    let to = application.address();
    let relay = Subject::Relay(to);
    let mut rows = Vec::new();
    for (size, depth, name, (must, stretch)) in LOADS {
        let title = |base: &Subject| format!("relay, {name}, CPU per message against {base}");
        let against = |base: &Subject| -> Result<Row> {
            let cpu = cpu_of(&rounds(scale, (&relay, base), size, depth)?);
            Ok(Row::ratio(&title(base), "µs", &base.to_string(), &cpu))
        };
        // Without nginx, compares with the application itself.
        rows.push(if is_installed("nginx") {
            against(&Subject::Nginx(to))?.goal(must, stretch)
        } else {
            against(&Subject::Raw)?
                .note("nginx is not installed, so this compares with the application itself")
        });
        // HAProxy has no goal; its row is for information.
        let haproxy = Subject::Haproxy(to);
        rows.push(if is_installed("haproxy") {
            against(&haproxy)?
        } else {
            Row::absent(&title(&haproxy), "HAProxy is not installed")
        });
    }
    Ok(rows)
}

fn rounds(
    scale: &Scale,
    sides: (&Subject, &Subject),
    size: usize,
    depth: usize,
) -> Result<Vec<(Cost, Cost)>> {
    let echo = |side: &mut Side| {
        let millis = scale.turn.as_millis();
        let answer = side.client.ask(&format!("echo {size} {depth} {millis}"))?;
        Ok(Turn { done: number(&answer, "messages")?, p99: number(&answer, "p99_us")? })
    };
    let prepare = |side: &mut Side| {
        side.client.ask(&format!("open {}", scale.echoing))?;
        echo(side).map(drop)
    };
    compare(scale, sides, prepare, echo)
}

pub(super) fn is_installed(program: &str) -> bool {
    let quiet = Stdio::null;
    Command::new(program).arg("-v").stdout(quiet()).stderr(quiet()).status().is_ok()
}
