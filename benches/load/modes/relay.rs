//! The relay: CPU per message beside nginx, both in front of the same echo.

use std::process::{Command, Stdio};

use super::{Scale, Side, Turn, compare, cpu_of};
use crate::Result;
use crate::processes::{Server, Subject, number};
use crate::report::Row;

/// Size and depth of the load, its name, and the goals: must and stretch.
const LOADS: [(usize, usize, &str, (f64, f64)); 3] = [
    (32, 1, "32 B depth 1", (1.7, 1.2)),
    (1024, 16, "1 KiB depth 16", (1.0, 0.8)),
    (16 * 1024, 1, "16 KiB depth 1", (0.7, 0.6)),
];

pub(super) fn measure(scale: &Scale) -> Result<Vec<Row>> {
    let has_nginx = Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_ok();
    let application = Server::start(&Subject::Batch(16 * 1024))?;
    let relay = Subject::Relay(application.address());
    // Without it there is still something to see: the same without a relay between.
    let base = if has_nginx { Subject::Nginx(application.address()) } else { Subject::Raw };
    let mut rows = Vec::new();
    for (size, depth, name, (must, stretch)) in LOADS {
        let echo = |side: &mut Side| {
            let millis = scale.turn.as_millis();
            let answer = side.client.ask(&format!("echo {size} {depth} {millis}"))?;
            Ok(Turn { done: number(&answer, "messages")?, p99: number(&answer, "p99_us")? })
        };
        let prepare = |side: &mut Side| {
            side.client.ask(&format!("open {}", scale.echoing))?;
            echo(side).map(drop)
        };
        let rounds = compare(scale, (&relay, &base), prepare, echo)?;
        let title = format!("relay, {name}, CPU per message against {base}");
        let row = Row::ratio(&title, "µs", &base.to_string(), &cpu_of(&rounds));
        rows.push(if has_nginx {
            row.goal(must, stretch)
        } else {
            row.note("nginx is not installed, so there is nothing to hold it against")
        });
    }
    Ok(rows)
}
