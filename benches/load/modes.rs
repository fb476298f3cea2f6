//! The modes: each measures some rows of the table.

mod broadcast;
mod closing;
mod echo;
mod fairness;
mod ledger;
mod memory;
mod opening;
mod pages;
mod relay;
mod tls;

use std::time::Duration;

use crate::Result;
use crate::measure::median;
use crate::processes::{Client, Server, Subject};
use crate::report::Row;

/// A measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// CPU per message, and latency.
    Echo,
    /// Memory of idle connections, before and after a message.
    Memory,
    /// Memory that is left after many connections have closed.
    Returned,
    /// Opening handshakes.
    Open,
    /// Connect and clean close.
    Cycles,
    /// All connections closed at once, from either side.
    Storm,
    /// One message to all.
    Broadcast,
    /// The daemon without connections.
    Idle,
    /// The relay.
    Relay,
    /// TLS in front of the relay.
    Tls,
    /// Plain HTTP beside the relay.
    Pages,
    /// The durable ledger.
    Ledger,
    /// A bystander beside peers that flood.
    Fairness,
}

/// The extent of the measurements.
#[derive(Debug, Clone)]
pub(crate) struct Scale {
    pub(crate) rounds: usize,
    /// How often the sides take turns within a round.
    pub(crate) turns: usize,
    /// How long a turn of echo is.
    pub(crate) turn: Duration,
    pub(crate) echoing: usize,
    /// Connections that fetch pages.
    pub(crate) readers: usize,
    pub(crate) idle: usize,
    pub(crate) returned: usize,
    pub(crate) settle: Duration,
    pub(crate) handshakes: usize,
    pub(crate) cycles: usize,
    pub(crate) storm: usize,
    pub(crate) listeners: usize,
    pub(crate) broadcasts: usize,
    /// Connections that end at once while others echo.
    pub(crate) burst: usize,
}

impl Scale {
    /// The extent that the goals are defined for.
    pub(crate) fn full() -> Self {
        Self {
            rounds: 5,
            turns: 10,
            turn: Duration::from_millis(200),
            echoing: 32,
            readers: 16,
            idle: 5_000,
            returned: 10_000,
            settle: Duration::from_secs(5),
            handshakes: 10_000,
            cycles: 10_000,
            storm: 19_000,
            listeners: 5_000,
            broadcasts: 20,
            burst: 10_000,
        }
    }

    /// The minimum that shows that each mode works.
    pub(crate) fn smoke() -> Self {
        Self {
            rounds: 1,
            turns: 2,
            turn: Duration::from_millis(100),
            echoing: 4,
            readers: 2,
            idle: 50,
            returned: 50,
            settle: Duration::from_millis(200),
            handshakes: 100,
            cycles: 100,
            storm: 100,
            listeners: 50,
            broadcasts: 3,
            burst: 100,
        }
    }
}

impl Mode {
    pub(crate) const ALL: [Self; 13] = [
        Self::Echo,
        Self::Memory,
        Self::Returned,
        Self::Open,
        Self::Cycles,
        Self::Storm,
        Self::Broadcast,
        Self::Idle,
        Self::Relay,
        Self::Tls,
        Self::Pages,
        Self::Ledger,
        Self::Fairness,
    ];

    pub(crate) fn named(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("no mode is called {name:?}; there are {names}").into()
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Memory => "memory",
            Self::Returned => "returned",
            Self::Open => "open",
            Self::Cycles => "cycles",
            Self::Storm => "storm",
            Self::Broadcast => "broadcast",
            Self::Idle => "idle",
            Self::Relay => "relay",
            Self::Tls => "tls",
            Self::Pages => "pages",
            Self::Ledger => "ledger",
            Self::Fairness => "fairness",
        }
    }

    pub(crate) fn measure(self, scale: &Scale) -> Result<Vec<Row>> {
        match self {
            Self::Echo => echo::measure(scale),
            Self::Memory => memory::per_connection(scale),
            Self::Returned => memory::returned(scale),
            Self::Open => opening::handshakes(scale),
            Self::Cycles => opening::cycles(scale),
            Self::Storm => closing::measure(scale),
            Self::Broadcast => broadcast::measure(scale),
            Self::Idle => memory::idle_daemon(scale),
            Self::Relay => relay::measure(scale),
            Self::Tls => tls::measure(scale),
            Self::Pages => pages::measure(scale),
            Self::Ledger => ledger::measure(scale),
            Self::Fairness => fairness::measure(scale),
        }
    }
}

/// Lets both sides take turns, and returns their results, round by round.
fn take_turns<T>(
    rounds: usize,
    mut ours: impl FnMut() -> Result<T>,
    mut base: impl FnMut() -> Result<T>,
) -> Result<Vec<(T, T)>> {
    (0..rounds).map(|_| Ok((ours()?, base()?))).collect()
}

/// A server with its client.
struct Side {
    server: Server,
    client: Client,
}

/// The work of a side in one turn.
struct Turn {
    /// The number of operations.
    done: f64,
    p99: f64,
}

/// The result of a side in a round.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// Microseconds of the server's CPU per operation.
    cpu: f64,
    /// The median of its turns.
    p99: f64,
}

impl Side {
    fn start(subject: &Subject) -> Result<Self> {
        let server = Server::start(subject)?;
        let client = Client::start(&server)?;
        Ok(Self { server, client })
    }
}

/// Compares two servers: in each round both are restarted and `prepare`d, then they take many short
/// turns, so that other load on the machine affects both.
fn compare(
    scale: &Scale,
    (ours, base): (&Subject, &Subject),
    prepare: impl Fn(&mut Side) -> Result<()>,
    turn: impl Fn(&mut Side) -> Result<Turn>,
) -> Result<Vec<(Cost, Cost)>> {
    let mut rounds = Vec::new();
    for _ in 0..scale.rounds {
        let mut sides = [Side::start(ours)?, Side::start(base)?];
        let mut before = [Duration::ZERO; 2];
        let mut turns = [Vec::new(), Vec::new()];
        for (side, before) in sides.iter_mut().zip(&mut before) {
            prepare(side)?;
            *before = side.server.cpu()?;
        }
        for _ in 0..scale.turns {
            for (side, turns) in sides.iter_mut().zip(&mut turns) {
                turns.push(turn(side)?);
            }
        }
        let cost = |at: usize| -> Result<Cost> {
            let done: f64 = turns[at].iter().map(|turn| turn.done).sum();
            if done < 1.0 {
                return Err("nothing was done".into());
            }
            // A server is idle during the other's turn, so all its CPU time is its own work.
            let cpu = sides[at].server.cpu()?.saturating_sub(before[at]);
            let p99: Vec<f64> = turns[at].iter().map(|turn| turn.p99).collect();
            Ok(Cost { cpu: cpu.as_secs_f64() * 1e6 / done, p99: median(&p99) })
        };
        rounds.push((cost(0)?, cost(1)?));
    }
    Ok(rounds)
}

/// The CPU of both sides, round by round.
fn cpu_of(rounds: &[(Cost, Cost)]) -> Vec<(f64, f64)> {
    rounds.iter().map(|(ours, base)| (ours.cpu, base.cpu)).collect()
}
