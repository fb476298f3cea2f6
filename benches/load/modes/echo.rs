//! Echo: CPU per message of the server, and latency.

use super::{Scale, Side, Turn, compare, cpu_of};
use crate::Result;
use crate::processes::{Subject, number};
use crate::report::Row;

struct Load {
    size: usize,
    depth: usize,
    name: &'static str,
    base: Subject,
    /// The required ratio and the stretch goal.
    cpu: (f64, f64),
}

pub(super) fn measure(scale: &Scale) -> Result<Vec<Row>> {
    let loads = [
        Load { size: 32, depth: 1, name: "32 B depth 1", base: Subject::Raw, cpu: (1.10, 1.00) },
        Load {
            size: 1024,
            depth: 16,
            name: "1 KiB depth 16",
            base: Subject::Batch(4096),
            cpu: (1.15, 0.90),
        },
        Load {
            size: 16 * 1024,
            depth: 1,
            name: "16 KiB depth 1",
            base: Subject::Batch(16 * 1024),
            cpu: (1.15, 1.00),
        },
    ];
    let mut rows = Vec::new();
    let mut latencies = Vec::new();
    for load in &loads {
        let echo = |side: &mut Side| {
            let (size, depth, millis) = (load.size, load.depth, scale.turn.as_millis());
            let answer = side.client.ask(&format!("echo {size} {depth} {millis}"))?;
            Ok(Turn { done: number(&answer, "messages")?, p99: number(&answer, "p99_us")? })
        };
        let prepare = |side: &mut Side| {
            side.client.ask(&format!("open {}", scale.echoing))?;
            echo(side).map(drop)
        };
        let daemon = Subject::Daemon(Vec::new());
        let rounds = compare(scale, (&daemon, &load.base), prepare, echo)?;
        let base = load.base.to_string();
        let title = format!("echo, {}, CPU per message against {base}", load.name);
        let row = Row::ratio(&title, "µs", &base, &cpu_of(&rounds));
        rows.push(row.goal(load.cpu.0, load.cpu.1));

        let p99: Vec<_> = rounds.iter().map(|(ours, base)| (ours.p99, base.p99)).collect();
        let title = format!("p99 latency, {}, against {base}", load.name);
        let row = Row::ratio(&title, "µs", &base, &p99);
        // The goal names two of the three loads.
        latencies.push(if load.size < 16 * 1024 { row.goal(1.25, 1.10) } else { row });
    }
    rows.extend(latencies);
    Ok(rows)
}
