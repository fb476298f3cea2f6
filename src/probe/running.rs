//! Plays the exchanges of a run, and judges them.

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
use super::script::{Step, Waits, play};
use super::seen::{Event, Opening, Seen};
use super::target::{Target, Unreachable};
use crate::transport::handshake_key::generate_key;
use crate::vocabulary::Role;

/// How many exchanges of a full run are played at a time.
const AT_ONCE: usize = 6;
/// How much longer than the first time a server may take to close a connection on its own.
const SETTLE: Duration = Duration::from_millis(50);
/// How many connections a safe run opens (CONTRACT section 7).
const SAFE_CONNECTIONS: usize = 10;

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

/// What becomes of an exchange.
enum Plan {
    Play,
    Skip(&'static str),
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
    let (started_at, began) = (SystemTime::now(), Instant::now());
    let idle = options.idle.unwrap_or_default();
    let waits = Waits { answer: options.wait, idle, settle: Duration::ZERO };
    let wanted =
        |case: &Case| options.only.is_empty() || options.only.iter().any(|id| id == case.id);
    let mut exchanges = cases::all().filter(|exchange| options.full || exchange.safe);
    let mut run = Run { outcomes: Vec::new(), played: Vec::new(), connections: 0 };
    let Some(first) = exchanges.next() else {
        return Ok(run.report(target, options, started_at, began));
    };
    let rest: Vec<_> = exchanges
        .filter(|exchange| exchange.cases.iter().any(wanted))
        .filter(|exchange| {
            exchange.needs != Needs::Idle || options.idle.is_some() || !options.only.is_empty()
        })
        .collect();
    let total = rest.iter().flat_map(|exchange| exchange.cases).chain(first.cases);
    let total = total.filter(|case| wanted(case)).count();
    let mut report =
        |run: &mut Run, exchange: &'static Exchange, plan: Result<Seen, &'static str>| {
            for outcome in outcomes(exchange, &plan).filter(|outcome| wanted(outcome.case)) {
                progress(&outcome, total);
                run.outcomes.push(outcome);
            }
            if let Ok(seen) = plan {
                run.connections += 1 + u64::from(exchange.reopens);
                run.played.push((exchange, seen));
            }
        };

    let seen = connect_and_play(target, first, waits).await;
    if let Some(unreachable) = target.unreachable(&seen.opening, options.wait) {
        return Err(unreachable);
    }
    let waits = Waits { settle: settle(&seen), ..waits };
    report(&mut run, first, Ok(seen));
    let mut echoes = None;
    if rest.iter().any(|exchange| exchange.needs == Needs::Echo)
        && let Some(detection) = cases::all().find(|exchange| exchange.needs == Needs::Echo)
    {
        let seen = connect_and_play(target, detection, waits).await;
        let is_echo = seen.echoed() > 0;
        echoes = Some(is_echo);
        // A sink takes the message; a server that ends the connection over it does not.
        let is_sink = !is_echo && seen.is_open() && !seen.is_early();
        match rest.iter().any(|exchange| std::ptr::eq(*exchange, detection)) {
            true if is_sink => report(&mut run, detection, Err(NO_ECHO)),
            true => report(&mut run, detection, Ok(seen)),
            false => run.connections += 1,
        }
    }
    let left = SAFE_CONNECTIONS - 1 - usize::from(options.idle.is_some());
    let mut planned: Vec<(&'static Exchange, Plan)> = Vec::new();
    for (at, exchange) in rest.into_iter().enumerate() {
        let is_detection = exchange.needs == Needs::Echo && exchange.cases[0].id == "echo-text";
        if is_detection {
            continue;
        }
        let plan = match exchange.needs {
            Needs::Echo if echoes == Some(false) => Plan::Skip(NO_ECHO),
            Needs::Idle if options.idle.is_none() => Plan::Skip("give --idle DURATION"),
            Needs::Nothing if !options.full && at >= left => {
                Plan::Skip("a safe run opens 10 connections at most, and --idle takes this one")
            }
            Needs::Nothing | Needs::Echo | Needs::Idle => Plan::Play,
        };
        planned.push((exchange, plan));
    }
    let at_once = if options.full { AT_ONCE } else { 1 };
    let plays: Vec<_> = planned
        .into_iter()
        .map(|(exchange, plan)| carry_out(target, exchange, plan, waits))
        .collect();
    let mut played = std::pin::pin!(futures_util::stream::iter(plays).buffered(at_once));
    while let Some((exchange, seen)) = played.next().await {
        report(&mut run, exchange, seen);
    }
    Ok(run.report(target, options, started_at, began))
}

const NO_ECHO: &str = "the server does not send messages back; it is taken for a sink";

struct Run {
    outcomes: Vec<Outcome>,
    played: Vec<(&'static Exchange, Seen)>,
    connections: u64,
}

impl Run {
    fn report(
        self,
        target: &Target,
        options: &Options,
        started_at: SystemTime,
        began: Instant,
    ) -> Report {
        Report {
            target: target.shown().to_owned(),
            started_at,
            took: began.elapsed(),
            full: options.full,
            connections: self.connections,
            guess: guess(&self.played),
            outcomes: self.outcomes,
        }
    }
}

/// Judges the cases of an exchange that was played, or was not for this reason.
fn outcomes<'a>(
    exchange: &'static Exchange,
    played: &'a Result<Seen, &'static str>,
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

async fn carry_out(
    target: &Target,
    exchange: &'static Exchange,
    plan: Plan,
    waits: Waits,
) -> (&'static Exchange, Result<Seen, &'static str>) {
    match plan {
        Plan::Play => (exchange, Ok(connect_and_play(target, exchange, waits).await)),
        Plan::Skip(why) => (exchange, Err(why)),
    }
}

/// Opens a connection, plays an exchange over it, and returns what was seen.
async fn connect_and_play(target: &Target, exchange: &Exchange, waits: Waits) -> Seen {
    let mut peer = open(target, &exchange.request, waits.answer).await;
    if peer.seen.is_open() {
        play(&mut peer, exchange.steps, waits).await;
        if exchange.reopens {
            let mut again = open(target, &Request::RIGHT, waits.answer).await;
            if again.seen.is_open() {
                play(&mut again, CLOSES, waits).await;
            }
            peer.note(Event::Reopened(answer(&again.into_seen()).is_some()));
        }
    }
    peer.into_seen()
}

const CLOSES: &[Step] =
    &[Step::Test(&[super::frame::Frame::close(1000, "")]), Step::AwaitClose, Step::AwaitEnd];

/// Opens a connection with this request.
async fn open(target: &Target, request: &Request, wait: Duration) -> Peer {
    let mut seen = Seen { secure: target.is_secure(), ..Seen::default() };
    let mut received = BytesMut::new();
    let mut socket = match target.connect(wait).await {
        Ok(socket) => socket,
        Err(why) => {
            seen.opening = Opening::NotConnected(why);
            return Peer::new(Role::Client, None, received, 0, seen);
        }
    };
    let key = match request.key {
        Key::Random | Key::Missing => generate_key(),
        Key::Of(key) => key.to_owned(),
    };
    let place = (target.host.as_str(), target.path.as_str());
    let head = request.encode(place, &key, &target.subprotocols, &target.headers);
    seen.opening = ask(&mut socket, &head, &key, &mut received, wait).await;
    let mut rsv = 0;
    if let Opening::Answered(answer) = &mut seen.opening {
        if answer.list("sec-websocket-extensions").any(|it| it.starts_with("permessage-deflate")) {
            rsv = 0b100;
        }
        if !target.subprotocols.is_empty() {
            answer.headers.push((cases::OFFERED.to_owned(), target.subprotocols.join(", ")));
        }
    }
    Peer::new(Role::Client, Some(socket), received, rsv, seen)
}
