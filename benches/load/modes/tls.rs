//! TLS: CPU per message and per handshake beside nginx, which terminates TLS in front of an echo, and
//! memory.
//!
//! Only nginx itself is counted, not the echo behind it.

use std::time::Duration;

use super::relay::is_installed;
use super::{Cost, Scale, Side, Turn, compare, cpu_of};
use crate::Result;
use crate::measure::median;
use crate::processes::{ADMIT_ALL, Certificate, Server, Subject, number};
use crate::report::{Row, Unit};

/// Size of a message, and its name.
const LOADS: [(usize, &str); 2] = [(32, "32 B depth 1"), (16 * 1024, "16 KiB depth 1")];

/// The goal per message against nginx: required, and stretch.
const PER_MESSAGE: (f64, f64) = (1.0, 0.8);

/// The goal per handshake: 0.9 of nginx's handshakes per CPU second is 1.11 of its CPU per handshake.
const PER_HANDSHAKE: (f64, f64) = (1.11, 1.0);

/// The goal for the memory of an idle connection, in KiB: required, and stretch.
const IDLE: (f64, f64) = (24.0, 16.0);

pub(super) fn measure(scale: &Scale) -> Result<Vec<Row>> {
    let application = Server::start(&Subject::Batch(16 * 1024))?;
    let to = application.address();
    let certificate = Certificate::new()?;
    let trust = format!("trust {}", certificate.authority().display());
    let mut rows = Vec::new();
    if is_installed("nginx") {
        let nginx = &Subject::TlsNginx(to, certificate.clone());
        let echo = &Subject::TlsDaemon(certificate.clone());
        let relay = &Subject::TlsRelay(to, certificate.clone());
        for (size, name) in LOADS {
            let cpu = cpu_of(&messages(scale, (echo, nginx), &trust, size)?);
            let title = format!("TLS echo, {name}, CPU per message against nginx");
            let row = Row::ratio(&title, "µs", "nginx", &cpu);
            rows.push(row.goal(PER_MESSAGE.0, PER_MESSAGE.1));
            // The relay has no goal; its row is for information.
            let cpu = cpu_of(&messages(scale, (relay, nginx), &trust, size)?);
            let title = format!("TLS relay, {name}, CPU per message against nginx");
            rows.push(Row::ratio(&title, "µs", "nginx", &cpu));
        }
        let sides = (relay, nginx);
        let connect = format!("connect {}", scale.handshakes / scale.turns);
        let cpu = cpu_of(&repeated(scale, sides, &trust, &connect, "connected")?);
        let title = "TLS handshakes without a request, CPU per handshake against nginx";
        let row = Row::ratio(title, "µs", "nginx", &cpu);
        rows.push(row.goal(PER_HANDSHAKE.0, PER_HANDSHAKE.1));
        let cycles = format!("cycles {}", scale.cycles / scale.turns);
        let cpu = cpu_of(&repeated(scale, sides, &trust, &cycles, "clean")?);
        let title = "TLS, opening and clean close through the relay, CPU against nginx";
        rows.push(Row::ratio(title, "µs", "nginx", &cpu));
    } else {
        rows.push(Row::absent("TLS, CPU against nginx", "nginx is not installed"));
    }
    let idle = (0..scale.rounds).map(|_| idle_connections(scale, &certificate, &trust));
    let (with, without): (Vec<f64>, Vec<f64>) =
        idle.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    let title = "TLS, idle memory per connection, after one 1,000 B message";
    let note = format!("without TLS: {:.1} KiB", median(&without));
    rows.push(Row::figure(title, Unit::KiB, with).goal(IDLE.0, IDLE.1).note(note));
    Ok(rows)
}

fn messages(
    scale: &Scale,
    sides: (&Subject, &Subject),
    trust: &str,
    size: usize,
) -> Result<Vec<(Cost, Cost)>> {
    let echo = |side: &mut Side| {
        let answer = side.client.ask(&format!("echo {size} 1 {}", scale.turn.as_millis()))?;
        Ok(Turn { done: number(&answer, "messages")?, p99: number(&answer, "p99_us")? })
    };
    let prepare = |side: &mut Side| {
        side.client.ask(trust)?;
        side.client.ask(&format!("open {}", scale.echoing))?;
        echo(side).map(drop)
    };
    compare(scale, sides, prepare, echo)
}

/// Repeats a command whose answer counts what was done.
fn repeated(
    scale: &Scale,
    sides: (&Subject, &Subject),
    trust: &str,
    command: &str,
    done: &str,
) -> Result<Vec<(Cost, Cost)>> {
    let turn = |side: &mut Side| {
        let answer = side.client.ask(command)?;
        Ok(Turn { done: number(&answer, done)?, p99: 0.0 })
    };
    let prepare = |side: &mut Side| {
        side.client.ask(trust)?;
        side.client.ask("cycles 20").map(drop)
    };
    compare(scale, sides, prepare, turn)
}

/// KiB per idle connection, with TLS and without.
fn idle_connections(scale: &Scale, certificate: &Certificate, trust: &str) -> Result<(f64, f64)> {
    let each = |subject: &Subject, trust: Option<&str>| -> Result<f64> {
        let mut side = Side::start(subject)?;
        if let Some(trust) = trust {
            side.client.ask(trust)?;
        }
        side.client.ask("open 50")?;
        side.client.ask("exchange 1000 1")?;
        let empty = side.server.memory()?;
        side.client.ask(&format!("open {}", scale.idle))?;
        side.client.ask("exchange 1000 1")?;
        std::thread::sleep(Duration::from_millis(500));
        Ok((side.server.memory()? - empty) / scale.idle as f64)
    };
    let with = each(&Subject::TlsDaemon(certificate.clone()), Some(trust))?;
    let without = each(&Subject::Daemon(vec![ADMIT_ALL]), None)?;
    Ok((with, without))
}
