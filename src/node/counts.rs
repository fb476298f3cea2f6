//! How many connections opened and ended, by direction and route.

use std::collections::HashMap;
use std::sync::Arc;

use crate::connection::counters::Carried;
use crate::vocabulary::{
    Census, CensusLine, CloseState, Direction, OpenByState, Origin, Outcome, Verdict,
};

/// Routes come from the configuration and are few. Should code of an embedder name more, the rest
/// is counted together, so that the counts stay small.
const MOST_ROUTES: usize = 4096;

/// Where connections of routes beyond [`MOST_ROUTES`] are counted.
const OTHER: &str = "other";

/// How many connections opened and ended, in all and by direction and route.
#[derive(Debug, Default)]
pub(crate) struct ConnectionCounts {
    pub(crate) opened: u64,
    pub(crate) ended: u64,
    /// What ended connections have carried.
    pub(crate) carried: Carried,
    /// Two lines for each route, one a direction.
    lines: Vec<Line>,
    /// The first of its two lines.
    by_route: HashMap<Arc<str>, usize>,
    /// The census that is being taken.
    pub(crate) census: Option<CensusUnderWay>,
}

/// A census that is being taken, as those who leave meanwhile must know it.
#[derive(Debug)]
pub(crate) struct CensusUnderWay {
    pub(crate) number: u64,
    /// How many had opened when it began: later ones are none of its concern.
    pub(crate) opened: u64,
    /// Who has left before being counted.
    pub(crate) departed: Vec<Departed>,
}

/// A connection that was open when a census began and has left before being counted.
#[derive(Debug)]
pub(crate) struct Departed {
    pub(crate) line: LineNumber,
    pub(crate) state: CloseState,
    pub(crate) carried: Carried,
}

/// The number of a connection's line in the counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LineNumber(usize);

#[derive(Debug)]
struct Line {
    route: Arc<str>,
    direction: Direction,
    opened: u64,
    ended: HashMap<Verdict, u64>,
}

impl CensusUnderWay {
    /// Returns whether it would miss a connection that leaves now.
    pub(crate) fn misses(&self, number: u64, counted_in: u64) -> bool {
        number <= self.opened && counted_in != self.number
    }
}

impl ConnectionCounts {
    /// Enters a connection that has opened; returns its line.
    pub(crate) fn open(&mut self, origin: &Origin) -> LineNumber {
        let number = self.line_of(origin);
        self.opened += 1;
        self.lines[number.0].opened += 1;
        number
    }

    /// Enters the ending of a connection.
    pub(crate) fn end(&mut self, number: LineNumber, outcome: &Outcome, carried: Carried) {
        let Outcome { kind, fault, cause, .. } = *outcome;
        self.ended += 1;
        self.carried.add(carried);
        *self.lines[number.0].ended.entry(Verdict { kind, fault, cause }).or_default() += 1;
    }

    /// Starts a census: all lines, in the order of their numbers, with no connection counted yet.
    pub(crate) fn take_census(&self) -> Census {
        let lines = self.lines.iter().map(|line| CensusLine {
            direction: line.direction,
            route: Arc::clone(&line.route),
            opened: line.opened,
            open: OpenByState::default(),
            ended: line.ended.iter().map(|(verdict, count)| (*verdict, *count)).collect(),
        });
        Census { lines: lines.collect(), ..Census::default() }
    }

    fn line_of(&mut self, origin: &Origin) -> LineNumber {
        let route = origin.route.as_deref().unwrap_or_default();
        let first = match self.by_route.get(route) {
            Some(first) => *first,
            None if self.by_route.len() < MOST_ROUTES => self.add_route(route),
            None => self.by_route.get(OTHER).copied().unwrap_or_else(|| self.add_route(OTHER)),
        };
        LineNumber(first + origin.direction as usize)
    }

    /// Adds the two lines of a route.
    fn add_route(&mut self, route: &str) -> usize {
        let route: Arc<str> = route.into();
        let first = self.lines.len();
        self.lines.extend(Direction::ALL.iter().map(|&direction| Line {
            route: Arc::clone(&route),
            direction,
            opened: 0,
            ended: HashMap::new(),
        }));
        self.by_route.insert(route, first);
        first
    }
}

impl LineNumber {
    /// Returns its line of a census of the same counts.
    pub(crate) fn of(self, census: &mut Census) -> &mut CensusLine {
        // Lines are only ever added, and a census begins with all of them.
        &mut census.lines[self.0]
    }
}
