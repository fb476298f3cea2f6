//! Memory: of idle connections, after many have closed, and of the daemon by itself.

use std::time::Duration;

use super::{Scale, take_turns};
use crate::Result;
use crate::measure::median;
use crate::processes::{ADMIT_ALL, Client, Server, Subject};
use crate::report::{Row, Unit};

/// Connections served before the measurement, so that the code is in memory.
const WARM: usize = 50;

/// KiB per idle connection, before and after one message of 1,000 bytes.
pub(super) fn per_connection(scale: &Scale) -> Result<Vec<Row>> {
    let daemon = Subject::Daemon(vec![ADMIT_ALL]);
    let turns = take_turns(
        scale.rounds,
        || idle_connections(&daemon, scale.idle),
        || idle_connections(&Subject::Raw, scale.idle),
    )?;
    let before: Vec<_> = turns.iter().map(|(ours, _)| ours.before).collect();
    let after: Vec<_> = turns.iter().map(|(ours, _)| ours.after).collect();
    let raw = |of: fn(&PerConnection) -> f64| {
        median(&turns.iter().map(|(_, raw)| of(raw)).collect::<Vec<_>>())
    };
    let raw = format!("raw: {:.1} KiB before, {:.1} after", raw(|r| r.before), raw(|r| r.after));
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

/// The memory left after all connections have closed, relative to the peak.
pub(super) fn returned(scale: &Scale) -> Result<Vec<Row>> {
    let rounds = repeat(scale.rounds, || close_all(scale.returned, scale.settle))?;
    let title = format!("memory left {:?} after {} clean closes", scale.settle, scale.returned);
    let mib = |of: fn(&Held) -> f64| {
        median(&rounds.iter().map(|held| of(held) / 1024.0).collect::<Vec<_>>())
    };
    let note = format!(
        "beyond the base, of the peak: base {:.1}, peak {:.1}, left {:.1} MiB",
        mib(|held| held.base),
        mib(|held| held.peak),
        mib(|held| held.left)
    );
    let shares = rounds.iter().map(|held| (held.left - held.base) / held.peak).collect();
    Ok(vec![Row::figure(&title, Unit::Percent, shares).goal(0.10, 0.05).note(note)])
}

/// The memory of a server in KiB.
struct Held {
    base: f64,
    peak: f64,
    left: f64,
}

fn close_all(count: usize, settle: Duration) -> Result<Held> {
    let server = Server::start(&Subject::Daemon(vec![ADMIT_ALL]))?;
    warm(&server)?;
    let base = server.memory()?;
    let mut client = Client::start(&server)?;
    client.ask(&format!("open {count}"))?;
    client.ask("exchange 1000 1")?;
    let peak = server.memory()?;
    client.ask("close")?;
    std::thread::sleep(settle);
    Ok(Held { base, peak, left: server.memory()? })
}

/// The resident memory of the daemon without connections.
pub(super) fn idle_daemon(scale: &Scale) -> Result<Vec<Row>> {
    let rounds = repeat(scale.rounds, || {
        let server = Server::start(&Subject::Daemon(Vec::new()))?;
        std::thread::sleep(scale.settle.min(Duration::from_secs(1)));
        Ok(server.memory()? / 1024.0)
    })?;
    let title = "idle daemon, no connection: resident memory";
    Ok(vec![Row::figure(title, Unit::MiB, rounds).goal(20.0, 10.0)])
}

fn repeat<T>(rounds: usize, round: impl FnMut() -> Result<T>) -> Result<Vec<T>> {
    std::iter::repeat_with(round).take(rounds).collect()
}

fn warm(server: &Server) -> Result<()> {
    let mut client = Client::start(server)?;
    client.ask(&format!("open {WARM}"))?;
    client.ask("exchange 1000 1")?;
    client.ask("close")?;
    std::thread::sleep(Duration::from_millis(200));
    Ok(())
}
