//! A bystander beside peers that send empty frames as fast as they can.

use super::{Scale, take_turns};
use crate::Result;
use crate::measure::median;
use crate::processes::{Client, Server, Subject, number};
use crate::report::Row;

/// The number of flooding peers.
const SENDERS: usize = 10;

pub(super) fn measure(scale: &Scale) -> Result<Vec<Row>> {
    let daemon = Subject::Daemon(Vec::new());
    let rounds =
        take_turns(scale.rounds, || beside(scale, &daemon), || beside(scale, &Subject::Raw))?;
    let title = format!("p99 of a bystander beside {SENDERS} senders of empty frames, against raw");
    // The goal is a time, compared with our figure.
    let ours: Vec<f64> = rounds.iter().map(|(ours, _)| *ours).collect();
    let note = format!("ours is to be at most 50,000 µs: {:.0}", median(&ours));
    Ok(vec![Row::ratio(&title, "µs", "raw", &rounds).note(note)])
}

/// Returns the p99 of a bystander's echoes, in microseconds.
fn beside(scale: &Scale, subject: &Subject) -> Result<f64> {
    let server = Server::start(subject)?;
    // Separate processes, so that the senders' cost does not delay the bystander.
    let (mut senders, mut bystander) = (Client::start(&server)?, Client::start(&server)?);
    senders.ask(&format!("open {SENDERS}"))?;
    bystander.ask("open 1")?;
    let millis = scale.turn.as_millis() * scale.turns as u128;
    // The bystander starts after the senders and stops before them.
    senders.tell(&format!("flood {}", millis + 400))?;
    std::thread::sleep(std::time::Duration::from_millis(200));
    let answer = bystander.ask(&format!("echo 32 1 {millis}"))?;
    senders.answer()?;
    number(&answer, "p99_us")
}
