//! One reader of events: first those that it missed, then new ones.
//!
//! The switch loses and repeats nothing. A subscription knows the sequence number after which it
//! begins, so the ledger is read up to there and no further. A long history is read before the
//! subscription starts, so that only what was committed meanwhile is read while events queue.

use std::fmt::Write;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

use crate::contract::EventRecord;
use crate::ledger::{Replay, Stored};
use crate::manager::EventStream;
use crate::surfaces::control::access::Caller;
use crate::surfaces::control::api::Api;
use crate::surfaces::control::tokens::Tokens;
use crate::surfaces::serving;
use crate::vocabulary::{Event, Published};

/// The number of past endings read at a time.
const PAGE: usize = 50;

/// The size at which a chunk of events is written, in bytes.
const CHUNK: usize = 16 * 1024;

/// The interval of keep-alive comments on an idle stream, so that no proxy times out.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long a reader should wait before it reconnects, in milliseconds.
const RETRY: &str = "retry: 2000\n\n";

/// Why events are missing.
const EXPIRED: &str = "expired";
const NOT_STORED: &str = "not_stored";

/// Which events a reader wants, by their types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted(Vec<&'static str>);

impl Wanted {
    pub(super) fn all() -> Self {
        Self(EventRecord::WORDS.to_vec())
    }

    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    pub(super) fn add(&mut self, word: &'static str) {
        self.0.push(word);
    }

    fn includes(&self, word: &str) -> bool {
        self.0.contains(&word)
    }

    /// Returns whether it includes events that the ledger keeps.
    fn includes_stored(&self) -> bool {
        ["ended", "open_failed"].iter().any(|word| self.includes(word))
    }

    /// Returns whether it includes events that the ledger does not keep.
    fn includes_unstored(&self) -> bool {
        ["opened", "closing", "reconnecting", "dialer", "drain", "revocation"]
            .iter()
            .any(|word| self.includes(word))
    }
}

/// A reader of events.
pub(super) struct Follower {
    api: Api,
    caller: Caller,
    tokens: watch::Receiver<Tokens>,
    wanted: Wanted,
    stage: Stage,
    /// Output that the client has not taken yet.
    chunk: String,
    /// The last id written, or the one that the reader resumed from.
    last: u64,
    /// Whether it has been told that the ledger no longer has all that it missed.
    is_expired: bool,
    /// Whether it fell behind, and has been notified.
    cut: bool,
    stop: watch::Receiver<bool>,
    client: String,
    _place: OwnedSemaphorePermit,
}

enum Stage {
    /// Reads the history; no subscription yet.
    Past,
    /// Reads what was committed until this subscription begins.
    CatchUp(EventStream),
    /// Follows the subscription.
    Live(EventStream),
    /// The stream is over.
    Over,
}

impl Follower {
    /// Starts now, or after the event with the id `last`.
    pub(super) fn new(
        api: Api,
        caller: Caller,
        wanted: Wanted,
        last: Option<u64>,
        place: OwnedSemaphorePermit,
        client: String,
    ) -> Self {
        let events = api.control.supervisor.events();
        let begins_after = events.begins_after();
        let mut chunk = RETRY.to_owned();
        let stage = match last {
            None => Stage::Live(events),
            // Nothing has been committed since.
            Some(last) if begins_after == Some(last) => Stage::Live(events),
            Some(_) => {
                if wanted.includes_unstored() {
                    write_gap(&mut chunk, None, NOT_STORED);
                }
                if wanted.includes_stored() { Stage::Past } else { Stage::Live(events) }
            }
        };
        // An id from the future belongs to another ledger.
        let last = match &stage {
            Stage::Live(_) => last.min(begins_after),
            Stage::Past | Stage::CatchUp(_) | Stage::Over => last,
        };
        let (last, stop) = (last.unwrap_or(0), api.stop.clone());
        let tokens = api.control.tokens.subscribe();
        Self {
            api,
            caller,
            tokens,
            wanted,
            stage,
            chunk,
            last,
            is_expired: false,
            cut: false,
            stop,
            client,
            _place: place,
        }
    }

    /// Returns the next chunk; `None` at the end. Reads nothing more until the chunk is taken.
    pub(super) async fn next(&mut self) -> Option<String> {
        while self.chunk.is_empty() {
            if matches!(self.stage, Stage::Over) {
                return None;
            }
            let is_admitted = self.caller.is_admitted_by(&self.tokens.borrow_and_update());
            if !is_admitted {
                self.withdraw();
                break;
            }
            self.stage = match std::mem::replace(&mut self.stage, Stage::Over) {
                Stage::Past => self.read_past().await,
                Stage::CatchUp(events) => self.catch_up(events).await,
                Stage::Live(events) => self.follow(events).await,
                Stage::Over => return None,
            };
        }
        Some(std::mem::take(&mut self.chunk))
    }

    async fn read_past(&mut self) -> Stage {
        let Some(page) = self.page().await else { return Stage::Over };
        let full = page.endings.len() >= PAGE;
        let nowhere = page.gap && page.endings.is_empty();
        self.write_page(page, None);
        if full {
            return Stage::Past;
        }
        let events = self.api.control.supervisor.events();
        if nowhere {
            // The ledger has nothing after this number, or is another one with its own numbers.
            self.last = 0;
            return Stage::Live(events);
        }
        Stage::CatchUp(events)
    }

    async fn catch_up(&mut self, events: EventStream) -> Stage {
        let end = events.begins_after();
        if end.is_some_and(|end| self.last >= end) {
            return Stage::Live(events);
        }
        let Some(page) = self.page().await else { return Stage::Over };
        let full = page.endings.len() >= PAGE;
        let reached =
            end.is_some_and(|end| page.endings.last().is_some_and(|last| last.sequence >= end));
        self.write_page(page, end);
        if full && !reached { Stage::CatchUp(events) } else { Stage::Live(events) }
    }

    async fn follow(&mut self, mut events: EventStream) -> Stage {
        let first = tokio::select! {
            biased;
            first = timeout(KEEP_ALIVE, events.next_published()) => first,
            () = serving::stopped(&mut self.stop) => {
                // Events published so far are still sent.
                while let Some(published) = events.try_next_published() {
                    self.write(&published);
                }
                return Stage::Over;
            }
            // The caller may not be one of those whose token is gone.
            Ok(()) = self.tokens.changed() => return Stage::Live(events),
        };
        match first {
            Ok(Some(published)) => self.write(&published),
            Ok(None) => return Stage::Over,
            Err(_) => {
                self.chunk.push_str(":\n\n");
                return Stage::Live(events);
            }
        }
        while !self.cut && self.chunk.len() < CHUNK {
            let Some(published) = events.try_next_published() else { break };
            self.write(&published);
        }
        if self.cut { Stage::Over } else { Stage::Live(events) }
    }

    /// Reads the next page of the history; `None` if that fails, after notifying the reader.
    async fn page(&mut self) -> Option<Replay> {
        if *self.stop.borrow() {
            return None;
        }
        let last = self.last;
        match self.api.queries.run(move |archive| archive.after(last, PAGE)).await {
            Ok(page) => Some(page),
            Err(problem) => {
                tracing::warn!(
                    client = self.client,
                    ?problem,
                    "an event stream could not be resumed"
                );
                self.chunk.push_str(": the ledger cannot be read: reconnect later\n\n");
                None
            }
        }
    }

    /// Writes past endings, up to this number.
    fn write_page(&mut self, page: Replay, end: Option<u64>) {
        // Once is enough: what was removed may lie behind many pages.
        if page.gap && !std::mem::replace(&mut self.is_expired, true) {
            write_gap(&mut self.chunk, None, EXPIRED);
        }
        for Stored { sequence, attempt, json } in page.endings {
            if end.is_some_and(|end| sequence > end) {
                break;
            }
            let (word, data) = EventRecord::of_stored(attempt, &json);
            self.last = sequence;
            if self.wanted.includes(word) {
                write_event(&mut self.chunk, Some(sequence), word, &data);
            }
        }
    }

    /// Writes an event if it is wanted and was not read from the ledger before.
    fn write(&mut self, published: &Published) {
        let Published { event, record } = published;
        if let Event::Gap(missed) = event {
            return self.cut_off(*missed);
        }
        // Ids never decrease; otherwise a resumed reader would get events twice.
        let sequence = record.sequence();
        let id = sequence.filter(|sequence| *sequence > self.last);
        let read_before = sequence.is_some() && id.is_none();
        if read_before && matches!(event, Event::Ended(_) | Event::OpenFailed(_)) {
            return;
        }
        let event = EventRecord::from(event);
        if self.wanted.includes(event.word()) {
            self.last = id.unwrap_or(self.last);
            write_event(&mut self.chunk, id, event.word(), &event.to_json());
        }
    }

    /// Ends the stream of a caller whose token was withdrawn.
    fn withdraw(&mut self) {
        tracing::info!(
            client = self.client,
            "an event stream was closed because its token was withdrawn"
        );
        self.chunk.push_str(": closed, because the token was withdrawn\n\n");
        self.stage = Stage::Over;
    }

    /// Ends the stream of a reader that fell behind with the number of events it missed.
    fn cut_off(&mut self, missed: u64) {
        tracing::info!(
            client = self.client,
            missed,
            "an event stream was closed because its reader fell behind"
        );
        let gap = EventRecord::from(&Event::Gap(missed)).to_json();
        write_event(&mut self.chunk, None, "gap", &gap);
        self.chunk.push_str(
            ": closed, because the reader is too slow: reconnect with Last-Event-ID for what is \
             stored\n\n",
        );
        self.cut = true;
    }
}

fn write_gap(chunk: &mut String, missed: Option<u64>, why: &'static str) {
    let gap = EventRecord::Gap { missed, why: Some(why.into()) };
    write_event(chunk, None, gap.word(), &gap.to_json());
}

/// Writes an event; its JSON has no line breaks, so it fits one `data` line.
fn write_event(chunk: &mut String, id: Option<u64>, word: &str, data: &str) {
    // Writing into a String cannot fail.
    if let Some(id) = id {
        let _ = writeln!(chunk, "id: {id}");
    }
    let _ = write!(chunk, "event: {word}\ndata: {data}\n\n");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;
    use tokio::time::Instant;

    use super::*;
    use crate::ledger::InMemory;
    use crate::manager::Supervisor;
    use crate::surfaces::control::api::Shared;
    use crate::surfaces::control::{Control, LedgerFigures, LiveSettings, Started, TokenStore};
    use crate::surfaces::probes::{Probes, Readiness};
    use crate::surfaces::reloads::Reloads;

    /// A reader of everything from now on, and what stops it.
    async fn follower() -> (Follower, watch::Sender<bool>) {
        let ledger = Arc::new(InMemory::default());
        let built = Supervisor::builder().ledger(Arc::clone(&ledger) as _);
        let control = Control {
            supervisor: built.start().await.unwrap(),
            archive: ledger,
            ledger: Arc::new(|| LedgerFigures { durable: false, unrecorded: 0, recovered: 0 }),
            probes: Probes::new(Arc::new(|| Readiness::Ready), Arc::new(String::new)),
            tokens: TokenStore::default(),
            settings: LiveSettings::default(),
            reloads: Reloads::new().0,
            started: Started::now(),
        };
        let (stop, stopped) = watch::channel(false);
        let api = Api(Arc::new(Shared::new(control, None, stopped)));
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let caller = Caller::Local;
        (Follower::new(api, caller, Wanted::all(), None, place, String::new()), stop)
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_events_hears_that_the_daemon_is_there_until_it_stops() {
        let (mut follower, stop) = follower().await;
        let began = Instant::now();
        assert_eq!(follower.next().await.unwrap(), RETRY);
        assert_eq!(began.elapsed(), Duration::ZERO);
        for beat in 1..4 {
            assert_eq!(follower.next().await.unwrap(), ":\n\n");
            assert_eq!(began.elapsed(), KEEP_ALIVE * beat);
        }
        stop.send_replace(true);
        assert_eq!(follower.next().await, None);
    }

    #[tokio::test]
    async fn a_history_with_gaps_is_reported_once() {
        let (mut follower, _stop) = follower().await;
        follower.chunk.clear();
        for sequence in [7, 9] {
            let stored = Stored { sequence, attempt: false, json: "{}".to_owned() };
            follower.write_page(Replay { endings: vec![stored], gap: true }, None);
        }
        let words: Vec<&str> =
            follower.chunk.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
        assert_eq!(words, ["gap", "ended", "ended"]);
    }

    #[test]
    fn an_event_is_written_as_its_lines() {
        let mut chunk = String::new();
        write_event(&mut chunk, Some(7), "ended", r#"{"event":"ended"}"#);
        write_gap(&mut chunk, None, EXPIRED);
        let gap = r#"{"event":"gap","missed":null,"why":"expired"}"#;
        assert_eq!(
            chunk,
            format!(
                "id: 7\nevent: ended\ndata: {{\"event\":\"ended\"}}\n\nevent: gap\ndata: {gap}\n\n"
            )
        );
    }
}
