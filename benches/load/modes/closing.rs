//! Close storms: all connections at once, closed by the server or by their peers.

use std::time::{Duration, Instant};

use super::{Scale, take_turns};
use crate::Result;
use crate::processes::{ADMIT_ALL, Client, Server, Subject, number};
use crate::report::{Row, Unit};

/// The time limit of a storm.
const LIMIT: Duration = Duration::from_secs(90);

#[derive(Debug, Clone, Copy)]
enum By {
    Server,
    Peers,
}

struct Storm {
    seconds: f64,
    /// Unclean ends, as counted by the peers and by the log.
    unclean: f64,
    /// Endings missing in the log.
    unlogged: f64,
}

pub(super) fn measure(scale: &Scale) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let count = scale.storm;
    for by in [By::Server, By::Peers] {
        let daemon = Subject::Daemon(vec![ADMIT_ALL, r#"drain.spread="0s""#]);
        let turns = take_turns(
            scale.rounds,
            || storm(&daemon, by, count),
            || storm(&Subject::Manager, by, count),
        )?;
        let who = match by {
            By::Server => "the server",
            By::Peers => "the peers",
        };
        let seconds: Vec<_> =
            turns.iter().map(|(ours, base)| (ours.seconds, base.seconds)).collect();
        let unclean: f64 = turns.iter().map(|(ours, _)| ours.unclean).sum();
        let unlogged: f64 = turns.iter().map(|(ours, _)| ours.unlogged).sum();
        let of_base: f64 = turns.iter().map(|(_, base)| base.unclean).sum();
        let title = format!("{count} clean closes started by {who}, time against raw manager");
        let time = Row::ratio(&title, "s", "raw manager", &seconds);
        let note = format!("in all rounds; raw manager {of_base:.0}; not in the log {unlogged:.0}");
        let title = format!("the same, unclean ends (by {who})");
        let ends = Row::figure(&title, Unit::Count, vec![unclean]).goal(0.0, 0.0).note(note);
        rows.push(match by {
            By::Server => time.goal(1.3, 1.1),
            By::Peers => time,
        });
        rows.push(ends);
    }
    Ok(rows)
}

fn storm(subject: &Subject, by: By, count: usize) -> Result<Storm> {
    let server = Server::start(subject)?;
    let mut client = Client::start(&server)?;
    client.ask(&format!("open {count}"))?;
    let began = Instant::now();
    match by {
        By::Server => {
            client.tell("await-close")?;
            server.terminate()?;
        }
        By::Peers => client.tell("close")?,
    }
    let answer = client.answer()?;
    let seconds = began.elapsed().as_secs_f64();
    if let By::Peers = by {
        server.terminate()?;
    }
    let log = server.stopped(LIMIT)?;
    let (clean, unclean) = endings(&log);
    let unlogged = match subject {
        Subject::Daemon(_) => count as f64 - clean - unclean,
        Subject::Library
        | Subject::TlsDaemon(_)
        | Subject::TlsRelay(..)
        | Subject::TlsNginx(..)
        | Subject::Relay(_)
        | Subject::Nginx(_)
        | Subject::Haproxy(_)
        | Subject::Raw
        | Subject::Batch(_)
        | Subject::Manager
        | Subject::Site(_)
        | Subject::PlainRelay(_)
        | Subject::PlainNginx(_) => 0.0,
    };
    Ok(Storm { seconds, unclean: unclean.max(number(&answer, "unclean")?), unlogged })
}

/// Counts the endings in a text log: clean ones, and others.
fn endings(log: &str) -> (f64, f64) {
    let (mut clean, mut unclean) = (0.0, 0.0);
    for line in log.lines().filter(|line| line.contains(" ended: ")) {
        match line.contains(" kind=clean ") {
            true => clean += 1.0,
            false => unclean += 1.0,
        }
    }
    (clean, unclean)
}
