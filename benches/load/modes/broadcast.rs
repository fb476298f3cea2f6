//! One message to all connections: CPU of the server per delivery.

use super::{Scale, Side, Turn, compare, cpu_of};
use crate::Result;
use crate::processes::Subject;
use crate::report::Row;

/// The size of the message, in bytes.
const SIZE: usize = 128;

pub(super) fn measure(scale: &Scale) -> Result<Vec<Row>> {
    let broadcast = |side: &mut Side| {
        side.server.command(&format!("broadcast {SIZE}"))?;
        // Every client has received it before the next one is sent.
        side.client.ask("receive 1")?;
        Ok(Turn { done: scale.listeners as f64, p99: 0.0 })
    };
    let prepare = |side: &mut Side| {
        side.client.ask(&format!("open {}", scale.listeners))?;
        // A connection is registered after its 101 and before its first echo, so waits for an echo.
        side.client.ask("exchange 16 1")?;
        broadcast(side).map(drop)
    };
    let scale_of_turns = Scale { turns: scale.broadcasts, ..scale.clone() };
    let sides = (&Subject::Library, &Subject::Manager);
    let rounds = compare(&scale_of_turns, sides, prepare, broadcast)?;
    let title = format!("broadcast to {}, CPU per delivery against raw manager", scale.listeners);
    let row = Row::ratio(&title, "µs", "raw manager", &cpu_of(&rounds));
    Ok(vec![row.goal(0.80, 0.65)])
}
