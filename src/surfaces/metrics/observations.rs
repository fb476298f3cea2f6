//! Observations recorded when events are published, and exposed at every scrape.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use prometheus_client::metrics::histogram::Histogram;

use crate::vocabulary::{Ending, Event, Kind, OpenFailure, Published, Record};

/// From a loopback to `close.timeout` and beyond, in seconds.
const CLOSING_HANDSHAKE: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// From a second to a day, in seconds.
const CONNECTION: [f64; 10] =
    [1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0];

/// The observations of published endings and attempts.
#[derive(Debug)]
pub struct Observations {
    pub(super) closing_handshake: Histogram,
    pub(super) connection: Histogram,
    /// Endings and attempts that the ledger could not store.
    unrecorded: AtomicU64,
    attempts: Mutex<Attempts>,
}

/// Failed attempts by route (empty without a route) and by failure.
type Attempts = HashMap<Box<str>, BTreeMap<&'static str, u64>>;

impl Default for Observations {
    fn default() -> Self {
        // Nearly all attempts fail without a route. These series start at 0, so that an alert on
        // their rate sees the first failure too.
        let none_yet = OpenFailure::WORDS.iter().map(|word| (*word, 0)).collect();
        Self {
            closing_handshake: Histogram::new(CLOSING_HANDSHAKE),
            connection: Histogram::new(CONNECTION),
            unrecorded: AtomicU64::new(0),
            attempts: Mutex::new(HashMap::from([(Box::from(""), none_yet)])),
        }
    }
}

impl Observations {
    /// Records an event. Takes locks that a scrape holds for microseconds.
    pub fn observe(&self, published: &Published) {
        match &published.event {
            Event::Ended(ending) => {
                self.note_record(published.record);
                self.ended(ending);
            }
            Event::OpenFailed(ending) => {
                self.note_record(published.record);
                self.open_failed(ending);
            }
            Event::Opened(_)
            | Event::Closing(_)
            | Event::Reconnecting(_)
            | Event::Dialer(_)
            | Event::Drain(_)
            | Event::Revocation(_)
            | Event::Gap(_) => {}
        }
    }

    pub(super) fn unrecorded(&self) -> u64 {
        self.unrecorded.load(Ordering::Relaxed)
    }

    /// Returns failed attempts by route, failure and number.
    pub(super) fn attempts(&self) -> Vec<(Box<str>, &'static str, u64)> {
        let attempts = self.attempts.lock();
        let counts = attempts.iter().flat_map(|(route, failures)| {
            failures.iter().map(|(failure, count)| (route.clone(), *failure, *count))
        });
        counts.collect()
    }

    fn note_record(&self, record: Record) {
        match record {
            Record::Failed => drop(self.unrecorded.fetch_add(1, Ordering::Relaxed)),
            Record::Durable(_) | Record::Counted | Record::None => {}
        }
    }

    fn ended(&self, ending: &Ending) {
        if ending.outcome.kind == Kind::ProcessDied {
            // A connection of an earlier process; its duration is unknown.
            return;
        }
        self.connection.observe(ending.open_for.as_secs_f64());
        if let Some(handshake) = ending.outcome.handshake {
            self.closing_handshake.observe(handshake.as_secs_f64());
        }
    }

    fn open_failed(&self, ending: &Ending) {
        let Some(failure) = ending.outcome.kind.open_failure() else { return };
        let route = ending.origin.route.as_deref().unwrap_or_default();
        let mut attempts = self.attempts.lock();
        if !attempts.contains_key(route) {
            attempts.insert(route.into(), BTreeMap::new());
        }
        if let Some(failures) = attempts.get_mut(route) {
            *failures.entry(failure.as_str()).or_default() += 1;
        }
    }
}
