//! The durable ledger: its cost, and its effect on the data path.

use std::time::{Duration, Instant};

use super::{Scale, opening, take_turns};
use crate::Result;
use crate::processes::{ADMIT_ALL, Client, NO_LEDGER, Server, Subject, number};
use crate::report::{Row, Unit};

/// The time for the ledger to store what is queued.
const LIMIT: Duration = Duration::from_secs(30);

pub(super) fn measure(scale: &Scale) -> Result<Vec<Row>> {
    let title = "connect + clean close cycles, ledger on, CPU against raw";
    let cycles = opening::cycles_of(scale, &[ADMIT_ALL], title)?.goal(3.0, 2.0);
    let rounds = take_turns(
        scale.rounds,
        || burst(scale, vec![ADMIT_ALL]),
        || burst(scale, vec![ADMIT_ALL, NO_LEDGER]),
    )?;
    let count = scale.burst;
    let latencies: Vec<_> = rounds.iter().map(|(with, without)| (with.p99, without.p99)).collect();
    let missing: f64 = rounds.iter().map(|(with, _)| with.missing).sum();
    let title = format!("p99 of 32 B echoes while {count} connections end at once, ledger on");
    let p99 = Row::ratio(&title, "µs", "without a ledger", &latencies);
    let title = "the same, endings that the ledger does not have".to_owned();
    let missing = Row::figure(&title, Unit::Count, vec![missing]).goal(0.0, 0.0);
    Ok(vec![cycles, p99, missing])
}

struct Burst {
    p99: f64,
    /// Endings missing in the ledger.
    missing: f64,
}

/// Ends many connections at once while a few others echo.
fn burst(scale: &Scale, settings: Vec<&'static str>) -> Result<Burst> {
    let recorded = !settings.contains(&NO_LEDGER);
    let server = Server::start(&Subject::Daemon(settings))?;
    let (mut many, mut few) = (Client::start(&server)?, Client::start(&server)?);
    many.ask(&format!("open {}", scale.burst))?;
    few.ask(&format!("open {}", scale.echoing))?;
    few.ask(&format!("echo 32 1 {}", scale.turn.as_millis()))?;
    few.tell(&format!("echo 32 1 {}", 5 * scale.turn.as_millis()))?;
    let answer = many.ask("close")?;
    let ended = number(&answer, "clean")? + number(&answer, "unclean")?;
    let p99 = number(&few.answer()?, "p99_us")?;
    let missing = if recorded { ended - await_endings(&server, ended)? } else { 0.0 };
    Ok(Burst { p99, missing })
}

/// Waits until the ledger has as many endings, and returns how many it has.
fn await_endings(server: &Server, expected: f64) -> Result<f64> {
    let file = server.folder().join("ledger.db");
    let ledger =
        rusqlite::Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let stored: u32 = ledger.query_row("SELECT count(*) FROM endings", [], |row| row.get(0))?;
        if f64::from(stored) >= expected || Instant::now() > deadline {
            return Ok(f64::from(stored));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
