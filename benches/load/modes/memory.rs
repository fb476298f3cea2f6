//! Memory: of idle connections, after many have closed, and of the daemon by itself.

use std::time::Duration;

use super::{Scale, take_turns};
use crate::Result;
use crate::processes::{ADMIT_ALL, Client, Server, Subject};
use crate::report::{Row, Unit};

/// Connections that a server has seen before it is measured, so that its code is in memory.
const WARM: usize = 50;

/// KiB per idle connection, before and after one message of 1,000 bytes.
pub(super) fn per_connection(scale: &Scale) -> Result<Vec<Row>> {
    let daemon = Subject::Daemon(vec![ADMIT_ALL]);
    let turns = take_turns(
        scale.rounds.min(3),
        || idle_connections(&daemon, scale.idle),
        || idle_connections(&Subject::Raw, scale.idle),
    )?;
    let before: Vec<_> = turns.iter().map(|(ours, _)| ours.before).collect();
    let after: Vec<_> = turns.iter().map(|(ours, _)| ours.after).collect();
    let raw = turns.iter().map(|(_, raw)| format!("{:.1} ({:.1})", raw.before, raw.after)).next();
    let raw = format!("raw: {} KiB before (after)", raw.unwrap_or_default());
    let title = "idle memory per connection, after one 1,000 B message";
    Ok(vec![
        Row::figure("idle memory per connection, before a message", Unit::KiB, before).note(raw),
        Row::figure(title, Unit::KiB, after).goal(12.0, 9.0),
    ])
}

struct PerConnection {
    before: f64,
    after: f64,
}

fn idle_connections(subject: &Subject, count: usize) -> Result<PerConnection> {
    let server = Server::start(subject)?;
    warm(&server)?;
    let empty = server.memory()?;
    let mut client = Client::start(&server)?;
    let each = |server: &Server| -> Result<f64> {
        std::thread::sleep(Duration::from_millis(500));
        Ok((server.memory()? - empty) / count as f64)
    };
    client.ask(&format!("open {count}"))?;
    let before = each(&server)?;
    client.ask("exchange 1000 1")?;
    let after = each(&server)?;
    Ok(PerConnection { before, after })
}

/// What is left of the peak after all connections have closed.
pub(super) fn returned(scale: &Scale) -> Result<Vec<Row>> {
    let server = Server::start(&Subject::Daemon(vec![ADMIT_ALL]))?;
    warm(&server)?;
    let base = server.memory()?;
    let mut client = Client::start(&server)?;
    client.ask(&format!("open {}", scale.returned))?;
    client.ask("exchange 1000 1")?;
    let peak = server.memory()?;
    client.ask("close")?;
    std::thread::sleep(scale.settle);
    let left = server.memory()?;
    let title = format!("memory left {:?} after {} clean closes", scale.settle, scale.returned);
    let mib = |kib: f64| kib / 1024.0;
    let note = format!(
        "beyond the base, of the peak: base {:.1}, peak {:.1}, left {:.1} MiB",
        mib(base),
        mib(peak),
        mib(left)
    );
    let share = (left - base) / peak;
    Ok(vec![Row::figure(&title, Unit::Percent, vec![share]).goal(0.10, 0.05).note(note)])
}

/// The resident memory of the daemon without connections.
pub(super) fn idle_daemon(scale: &Scale) -> Result<Vec<Row>> {
    let server = Server::start(&Subject::Daemon(Vec::new()))?;
    std::thread::sleep(scale.settle.min(Duration::from_secs(1)));
    let mib = server.memory()? / 1024.0;
    let title = "idle daemon, no connection: resident memory";
    Ok(vec![Row::figure(title, Unit::MiB, vec![mib]).goal(20.0, 10.0)])
}

fn warm(server: &Server) -> Result<()> {
    let mut client = Client::start(server)?;
    client.ask(&format!("open {WARM}"))?;
    client.ask("exchange 1000 1")?;
    client.ask("close")?;
    std::thread::sleep(Duration::from_millis(200));
    Ok(())
}
