//! Plays the exchanges of a run, and judges them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;
use futures_util::StreamExt;

use super::case::{Case, Exchange, Judgement, Needs, Verdict};
use super::cases;
use super::describing::{Measured, observed};
use super::guessing::guess;
use super::judging::answer;
use super::opening::ask;
use super::peer::Peer;
use super::request::{Key, Request};
use super::script::{CLOSES, Waits, play};
use super::seen::{Answer, Event, Opening, Seen};
use super::target::{Target, Unreachable};
use crate::transport::handshake_key::generate_key;
use crate::vocabulary::Role;

/// How many exchanges of a full run are played at a time.
const AT_ONCE: usize = 6;
/// How much longer than the first time a server may take to close a connection on its own.
const SETTLE: Duration = Duration::from_millis(50);
/// How many connections a safe run opens (CONTRACT section 7).
const SAFE_CONNECTIONS: usize = 10;
/// How much a safe run reads behind its opening handshakes (CONTRACT section 7).
const SAFE_READ: u64 = 1024 * 1024;

/// What a run plays.
#[derive(Debug, Clone)]
pub struct Options {
    /// All exchanges, and not only the safe ones.
    pub full: bool,
    /// Only these cases; all if it is empty.
    pub only: Vec<String>,
    /// How long to wait for each answer.
    pub wait: Duration,
    /// How long to look for an idle timeout.
    pub idle: Option<Duration>,
}

/// The result of a case.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The case.
    pub case: &'static Case,
    /// The verdict, and what follows.
    pub judgement: Judgement,
    /// What was observed, in one line that is safe to print.
    pub observed: String,
    /// The same as numbers.
    pub measured: Measured,
}

/// The result of a run.
#[derive(Debug)]
pub struct Report {
    /// The URL without secrets.
    pub target: String,
    /// When it began.
    pub started_at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// Whether it was a full run.
    pub full: bool,
    /// How many connections were opened.
    pub connections: u64,
    /// The results, in the order of [`cases::all`].
    pub outcomes: Vec<Outcome>,
    /// What seems to stand in front or behind.
    pub guess: Option<String>,
}

impl Report {
    /// Returns how many cases have a verdict.
    pub fn count(&self, verdict: Verdict) -> u64 {
        let with = self.outcomes.iter().filter(|outcome| outcome.judgement.verdict == verdict);
        with.count() as u64
    }
}

/// Probes a server. `progress` is told each result as it comes, and how many there will be.
///
/// # Errors
/// [`Unreachable`]: the first connection was not upgraded.
///
/// # Cancel safety
/// Dropping the future ends all connections.
pub async fn run(
    target: &Target,
    options: &Options,
    mut progress: impl FnMut(&Outcome, usize),
) -> Result<Report, Unreachable> {
    let began = Instant::now();
    let mut report = Report {
        target: target.shown().to_owned(),
        started_at: SystemTime::now(),
        took: Duration::ZERO,
        full: options.full,
        connections: 0,
        outcomes: Vec::new(),
        guess: None,
    };
    let idle = options.idle.unwrap_or_default();
    let waits = Waits { answer: options.wait, idle, settle: Duration::ZERO };
    let wanted =
        |case: &Case| options.only.is_empty() || options.only.iter().any(|id| id == case.id);
    let most_read = if options.full { u64::MAX } else { SAFE_READ };
    let used = &Used { most_read, read: AtomicU64::new(0), connections: AtomicU64::new(0) };
    let mut exchanges = cases::all().filter(|exchange| options.full || exchange.safe);
    let Some(first) = exchanges.next() else { return Ok(report) };
    let mut rest: Vec<_> = exchanges
        .filter(|exchange| exchange.cases.iter().any(wanted))
        .filter(|exchange| {
            exchange.needs != Needs::Idle || options.idle.is_some() || !options.only.is_empty()
        })
        .collect();
    let total = rest.iter().flat_map(|exchange| exchange.cases).chain(first.cases);
    let total = total.filter(|case| wanted(case)).count();
    let mut played = Vec::new();
    let mut add = |report: &mut Report, exchange: &'static Exchange, result: Result<Seen, &str>| {
        for outcome in outcomes(exchange, &result).filter(|outcome| wanted(outcome.case)) {
            progress(&outcome, total);
            report.outcomes.push(outcome);
        }
        if let Ok(seen) = result {
            played.push((exchange, seen));
        }
    };

    let seen = connect_and_play(target, first, waits, used).await;
    if let Some(unreachable) = target.unreachable(&seen.opening, options.wait) {
        return Err(unreachable);
    }
    let waits = Waits { settle: settle(&seen), ..waits };
    add(&mut report, first, used.unless_exceeded(seen));
    let mut echoes = true;
    if rest.iter().any(|exchange| exchange.needs == Needs::Echo)
        && let Some(detection) = cases::all().find(|exchange| exchange.needs == Needs::Echo)
    {
        let seen = connect_and_play(target, detection, waits, used).await;
        echoes = seen.echoed() > 0;
        // A sink takes the message; a server that ends the connection over it does not.
        let is_sink = !echoes && seen.is_open() && !seen.is_early();
        if let Some(at) = rest.iter().position(|exchange| std::ptr::eq(*exchange, detection)) {
            rest.remove(at);
            add(&mut report, detection, if is_sink { Err(NO_ECHO) } else { Ok(seen) });
        }
    }
    let left = SAFE_CONNECTIONS - 1 - usize::from(options.idle.is_some());
    let skipped = |at: usize, exchange: &Exchange| match exchange.needs {
        Needs::Echo if !echoes => Some(NO_ECHO),
        Needs::Idle if options.idle.is_none() => Some("give --idle DURATION"),
        Needs::Nothing if !options.full && at >= left => {
            Some("a safe run opens 10 connections at most, and --idle takes this one")
        }
        Needs::Nothing | Needs::Echo | Needs::Idle => None,
    };
    let plays: Vec<_> = rest
        .into_iter()
        .enumerate()
        .map(|(at, exchange)| {
            let skipped = skipped(at, exchange);
            async move {
                let result = match skipped {
                    Some(why) => Err(why),
                    None if used.is_exceeded() => Err(READ_ENOUGH),
                    None => {
                        let seen = connect_and_play(target, exchange, waits, used).await;
                        used.unless_exceeded(seen)
                    }
                };
                (exchange, result)
            }
        })
        .collect();
    let at_once = if options.full { AT_ONCE } else { 1 };
    let mut plays = std::pin::pin!(futures_util::stream::iter(plays).buffered(at_once));
    while let Some((exchange, result)) = plays.next().await {
        add(&mut report, exchange, result);
    }
    report.connections = used.connections.load(Ordering::Relaxed);
    report.guess = guess(&played);
    report.took = began.elapsed();
    Ok(report)
}

const NO_ECHO: &str = "the server does not send messages back; it is taken for a sink";
const READ_ENOUGH: &str = "a safe run reads 1 MiB at most, and the server has sent more: play this case \
                           alone with --only";

/// What a run has used, and how much it may read.
struct Used {
    most_read: u64,
    read: AtomicU64,
    connections: AtomicU64,
}

impl Used {
    /// Returns whether more was read than may be.
    fn is_exceeded(&self) -> bool {
        self.read.load(Ordering::Relaxed) > self.most_read
    }

    /// Returns what was seen in an exchange, unless it was cut off.
    fn unless_exceeded(&self, seen: Seen) -> Result<Seen, &'static str> {
        if self.is_exceeded() { Err(READ_ENOUGH) } else { Ok(seen) }
    }
}

/// Judges the cases of an exchange that was played, or was not for this reason.
fn outcomes<'a>(
    exchange: &'static Exchange,
    played: &'a Result<Seen, &str>,
) -> impl Iterator<Item = Outcome> + 'a {
    exchange.cases.iter().map(move |case| match played {
        Ok(seen) => {
            let mut judgement = case.judge(seen);
            let observed = judgement.observed.take().unwrap_or_else(|| observed(seen));
            Outcome { case, judgement, observed, measured: Measured::of(seen) }
        }
        Err(why) => Outcome {
            case,
            judgement: Judgement::skipped(*why),
            observed: "nothing: the case was not played".to_owned(),
            measured: Measured::default(),
        },
    })
}

/// Returns how long each exchange waits first. A server that closed the first one on its own, as some do
/// without credentials, does so again, and its Close must not be taken for an answer.
fn settle(first: &Seen) -> Duration {
    let ended = first.close().map(|(at, _)| at).or_else(|| first.end().map(|(at, _)| at));
    ended.filter(|_| first.is_early()).map_or(Duration::ZERO, |at| 2 * at + SETTLE)
}

/// Opens a connection, plays an exchange over it, and returns what was seen.
async fn connect_and_play(target: &Target, exchange: &Exchange, waits: Waits, used: &Used) -> Seen {
    let mut peer = open(target, &exchange.request, waits.answer, used).await;
    if peer.seen.is_open() {
        play(&mut peer, exchange.steps, waits).await;
        if exchange.reopens {
            let mut again = open(target, &Request::RIGHT, waits.answer, used).await;
            if again.seen.is_open() {
                play(&mut again, CLOSES, waits).await;
            }
            peer.note(Event::Reopened(answer(&again.into_seen()).is_some()));
        }
    }
    used.read.fetch_add(peer.read(), Ordering::Relaxed);
    peer.into_seen()
}

/// Opens a connection with this request.
async fn open(target: &Target, request: &Request, wait: Duration, used: &Used) -> Peer {
    let offered = target.subprotocols.clone();
    let mut seen = Seen { secure: target.is_secure(), offered, ..Seen::default() };
    let mut received = BytesMut::new();
    let mut socket = match target.connect(wait).await {
        Ok(socket) => socket,
        Err(why) => {
            seen.opening = Opening::NotConnected(why);
            return Peer::new(Role::Client, None, received, 0, seen);
        }
    };
    used.connections.fetch_add(1, Ordering::Relaxed);
    let key = match request.key {
        Key::Random | Key::Missing => generate_key(),
        Key::Of(key) => key.to_owned(),
    };
    let place = (target.host.as_str(), target.path.as_str());
    let head = request.encode(place, &key, &target.subprotocols, &target.headers);
    seen.opening = ask(&mut socket, &head, &key, &mut received, wait).await;
    let deflates = |answer: &Answer| {
        answer.list("sec-websocket-extensions").any(|it| it.starts_with("permessage-deflate"))
    };
    let rsv = if seen.answer().is_some_and(deflates) { 0b100 } else { 0 };
    let left = used.most_read.saturating_sub(used.read.load(Ordering::Relaxed));
    Peer::new(Role::Client, Some(socket), received, rsv, seen).reading_at_most(left)
}
