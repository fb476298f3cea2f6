//! Opening handshakes, alone and with a clean close: CPU of the server.

use super::{Cost, Scale, Side, Turn, compare, cpu_of};
use crate::Result;
use crate::processes::{ADMIT_ALL, NO_LEDGER, Subject, number};
use crate::report::Row;

pub(super) fn handshakes(scale: &Scale) -> Result<Vec<Row>> {
    let open = format!("open {}", scale.handshakes / scale.turns);
    let rounds = compare_with_raw(scale, &[ADMIT_ALL], "open 20", |side| {
        // The connections stay open: closing them is measured in another row.
        let answer = side.client.ask(&open)?;
        Ok(Turn { done: number(&answer, "opened")?, p99: 0.0 })
    })?;
    let title = "opening handshakes, CPU against raw";
    let row = Row::ratio(title, "µs", "raw", &cpu_of(&rounds));
    Ok(vec![row.goal(1.25, 1.05)])
}

pub(super) fn cycles(scale: &Scale) -> Result<Vec<Row>> {
    let title = "connect + clean close cycles, no ledger, CPU against raw";
    Ok(vec![cycles_of(scale, &[ADMIT_ALL, NO_LEDGER], title)?.goal(1.50, 1.20)])
}

pub(super) fn cycles_of(
    scale: &Scale,
    settings: &[&'static str],
    title: &'static str,
) -> Result<Row> {
    let cycles = format!("cycles {}", scale.cycles / scale.turns);
    let rounds = compare_with_raw(scale, settings, "cycles 20", |side| {
        let answer = side.client.ask(&cycles)?;
        match number(&answer, "unclean")? {
            0.0 => Ok(Turn { done: number(&answer, "clean")?, p99: 0.0 }),
            unclean => Err(format!("{unclean} ends were not clean").into()),
        }
    })?;
    Ok(Row::ratio(title, "µs", "raw", &cpu_of(&rounds)))
}

fn compare_with_raw(
    scale: &Scale,
    settings: &[&'static str],
    warm: &str,
    turn: impl Fn(&mut Side) -> Result<Turn>,
) -> Result<Vec<(Cost, Cost)>> {
    let daemon = Subject::Daemon(settings.to_vec());
    compare(scale, (&daemon, &Subject::Raw), |side| side.client.ask(warm).map(drop), turn)
}
