//! Where entries wait for the writer, and where the watchdog takes them over from a writer that
//! hangs.
//!
//! At any time one of the two tells, so that every entry is told once and in order: the writer,
//! unless the watchdog has taken over. It takes over while the writer waits for the disk, and gives
//! back when the writer has come back and the watchdog is between two rounds.
//!
//! Entries are charged until they are told, and more than the bound is never held: whoever would
//! exceed it waits until something is told. That is no wait for the disk: the watchdog takes over
//! from a writer that is waiting for it, and telling waits for nobody.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::{Committed, Entry};
use super::trouble::Trouble;
use crate::vocabulary::Record;

/// How many entries go into one transaction: short enough that the disk is seen to make progress.
pub(super) const MOST_AT_ONCE: usize = 2048;

/// Commits begin at least this far apart, so that what comes meanwhile shares the next one; what
/// comes is told within 10 ms.
const GATHER: Duration = Duration::from_millis(7);

/// An entry that has not been told yet.
pub(super) struct Waiting {
    pub(super) entry: Entry,
    pub(super) since: Instant,
    committed: Arc<dyn Committed>,
    bytes: usize,
}

impl Waiting {
    pub(super) fn new(entry: Entry, committed: &Arc<dyn Committed>) -> Self {
        let bytes = weight(&entry);
        Self { entry, since: Instant::now(), committed: Arc::clone(committed), bytes }
    }

    /// Tells what became of the entry. No lock may be held: whoever is told may ask the archive.
    pub(super) fn tell(&self, record: Record) {
        let told = AssertUnwindSafe(|| self.committed.committed(self.entry.clone(), record));
        if catch_unwind(told).is_err() {
            // It is not ours, and the entries behind are not to suffer for it.
            tracing::error!("whoever heard of a ledger entry panicked");
        }
    }
}

/// Entries that are on their way to the disk, and what is to be told of each if they arrive.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) entries: Vec<Waiting>,
    pub(super) records: Vec<Record>,
}

/// What the writer is to do next.
pub(super) enum Work {
    Entries(Vec<Waiting>),
    Tick,
    /// Nothing is left and nothing will come.
    Close,
}

/// What the watchdog is to do next.
pub(super) enum Watch {
    /// Tell these as lost; the batch comes first. `why` is there if it has just taken over.
    Tell {
        batch: Option<Arc<Batch>>,
        queue: Vec<Waiting>,
        why: Option<Trouble>,
    },
    Over,
}

pub(super) struct Desk {
    state: Mutex<State>,
    /// Told when the writer has something to do.
    writer: Condvar,
    /// Told when the watchdog has something to do.
    watchdog: Condvar,
    /// Told when the writer is gone.
    gone: Condvar,
    /// Told when entries have been told, so that others find room.
    room: Condvar,
    bound: usize,
    stall_timeout: Duration,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Waiting>,
    /// What the entries in the queue hold.
    queued: usize,
    /// What the entries hold that the writer has taken and not told.
    writing: usize,
    /// What the entries hold that the watchdog has taken and not told.
    refusing: usize,
    /// How many wait for room.
    crowd: usize,
    /// When the oldest entry came that the writer has taken and not told.
    taken: Option<Instant>,
    /// Since when the writer has been waiting for the disk, and with what, unless that is told.
    on_disk: Option<(Instant, Option<Arc<Batch>>)>,
    /// The watchdog tells, not the writer.
    taken_over: bool,
    /// The watchdog is in the middle of a round.
    telling: bool,
    closing: bool,
    writer_gone: bool,
}

impl Desk {
    pub(super) fn new(bound: usize, stall_timeout: Duration) -> Self {
        Self {
            state: Mutex::default(),
            writer: Condvar::new(),
            watchdog: Condvar::new(),
            gone: Condvar::new(),
            room: Condvar::new(),
            bound,
            stall_timeout,
        }
    }

    /// Queues an entry, or gives it back if nobody will come for it. Waits, briefly, while more is
    /// held than may be.
    pub(super) fn push(&self, waiting: Waiting) -> Result<(), Waiting> {
        let mut state = self.lock();
        loop {
            if state.writer_gone && !state.taken_over {
                return Err(waiting);
            }
            if state.held() == 0 || state.held() + waiting.bytes <= self.bound {
                break;
            }
            state.crowd += 1;
            self.watchdog.notify_one();
            self.writer.notify_one();
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.crowd -= 1;
        }
        state.queued += waiting.bytes;
        state.queue.push_back(waiting);
        // Between the first and the last of a batch the writer needs no waking.
        if state.queue.len() == 1 || state.queue.len() == MOST_AT_ONCE {
            self.writer.notify_one();
        }
        if state.taken_over && !state.telling {
            self.watchdog.notify_one();
        }
        Ok(())
    }

    /// Waits for entries until `tick`; those that come soon after a commit that began at `last`
    /// gather for a moment.
    pub(super) fn take(&self, last: Option<Instant>, tick: Instant) -> Work {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let until = if let Some(oldest) = state.queue.front() {
                let due = last.map_or(now, |last| oldest.since.max(last + GATHER));
                let full = state.crowd > 0 || state.queue.len() >= MOST_AT_ONCE;
                if due <= now || state.closing || full {
                    state.taken = Some(oldest.since);
                    let (entries, bytes) = state.take_some();
                    state.writing = bytes;
                    return Work::Entries(entries);
                }
                due
            } else if state.closing {
                return Work::Close;
            } else if tick <= now {
                return Work::Tick;
            } else {
                tick
            };
            state = wait(&self.writer, state, until.saturating_duration_since(now));
        }
    }

    /// Says that the writer goes to the disk, with these entries.
    pub(super) fn begin(&self, batch: &Arc<Batch>) {
        self.lock().on_disk = Some((Instant::now(), Some(Arc::clone(batch))));
    }

    /// Says that the writer is back; `false` if the watchdog has told its entries meanwhile.
    #[must_use]
    pub(super) fn end(&self) -> bool {
        let mut state = self.lock();
        while state.telling {
            state = self.writer.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.on_disk = None;
        !std::mem::take(&mut state.taken_over)
    }

    /// Says that the writer has told all that it took.
    pub(super) fn told(&self) {
        let mut state = self.lock();
        state.taken = None;
        state.writing = 0;
        self.room.notify_all();
    }

    /// Waits until the watchdog has something to do.
    pub(super) fn watch(&self) -> Watch {
        // Often enough to be on time, seldom enough to be free.
        let pause = (self.stall_timeout / 10).max(Duration::from_millis(5));
        let mut state = self.lock();
        loop {
            let over = state.crowd > 0;
            if state.taken_over {
                // A writer that panicked left its batch behind.
                let left = state.writer_gone.then(|| state.on_disk.take()).flatten();
                let batch = left.and_then(|(_, batch)| batch);
                if batch.is_some() || !state.queue.is_empty() {
                    return self.round(state, batch, None);
                }
                if state.writer_gone && state.closing {
                    state.taken_over = false;
                    return Watch::Over;
                }
            } else if state.writer_gone {
                return Watch::Over;
            } else if let Some((began, batch)) = &mut state.on_disk {
                let why = if began.elapsed() >= self.stall_timeout {
                    Some(Trouble::Stalled(self.stall_timeout))
                } else if over {
                    Some(Trouble::Overflow(self.bound))
                } else {
                    None
                };
                if why.is_some() {
                    let batch = batch.take();
                    state.taken_over = true;
                    return self.round(state, batch, why);
                }
            }
            // Over the bound while the writer plans or tells: it is about to go to the disk.
            let pause = if over { Duration::from_millis(2) } else { pause };
            state = wait(&self.watchdog, state, pause);
        }
    }

    fn round(
        &self,
        mut state: MutexGuard<'_, State>,
        batch: Option<Arc<Batch>>,
        why: Option<Trouble>,
    ) -> Watch {
        state.telling = true;
        state.taken = None;
        // In small steps, so that there is room soon.
        let (queue, bytes) = state.take_some();
        // The batch is told in this round, and if there is none it was told before.
        state.refusing = bytes + std::mem::take(&mut state.writing);
        Watch::Tell { batch, queue, why }
    }

    /// Says that the watchdog has told what it took.
    pub(super) fn round_over(&self) {
        let mut state = self.lock();
        state.telling = false;
        state.refusing = 0;
        self.writer.notify_one();
        self.room.notify_all();
    }

    /// Says that there will be no writer any more; after a panic the watchdog takes over for good.
    pub(super) fn writer_is_gone(&self, panicked: bool) {
        let mut state = self.lock();
        state.writer_gone = true;
        state.taken_over |= panicked;
        if state.on_disk.is_none() {
            // What a writer that panicked had not told, nobody can.
            state.writing = 0;
        }
        self.watchdog.notify_one();
        self.gone.notify_all();
        self.room.notify_all();
    }

    /// Has the writer deal with what is queued, then go; waits for that at most so long.
    pub(super) fn close(&self, within: Duration) -> bool {
        let mut state = self.lock();
        state.closing = true;
        self.writer.notify_one();
        self.watchdog.notify_one();
        let deadline = Instant::now() + within;
        while !state.writer_gone {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = wait(&self.gone, state, left);
        }
        true
    }

    pub(super) fn stall_timeout(&self) -> Duration {
        self.stall_timeout
    }

    /// Returns for how long the oldest entry has been waiting.
    pub(super) fn lag(&self) -> Duration {
        let state = self.lock();
        let oldest = state.taken.or(state.queue.front().map(|oldest| oldest.since));
        oldest.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns what all entries hold that are not told yet.
    fn held(&self) -> usize {
        self.queued + self.writing + self.refusing
    }

    /// Takes as many entries as go into one transaction, and returns what they hold.
    fn take_some(&mut self) -> (Vec<Waiting>, usize) {
        let count = self.queue.len().min(MOST_AT_ONCE);
        let entries: Vec<Waiting> = self.queue.drain(..count).collect();
        let bytes = entries.iter().map(|waiting| waiting.bytes).sum::<usize>();
        self.queued -= bytes;
        (entries, bytes)
    }
}

fn wait<'a>(
    condition: &Condvar,
    state: MutexGuard<'a, State>,
    within: Duration,
) -> MutexGuard<'a, State> {
    condition.wait_timeout(state, within).unwrap_or_else(PoisonError::into_inner).0
}

/// Returns about how much memory an entry holds.
fn weight(entry: &Entry) -> usize {
    size_of::<Waiting>()
        + match entry {
            Entry::Closing(_) => 0,
            Entry::Opened(opened) => opened.held_bytes(),
            Entry::Ended(ending) | Entry::OpenFailed(ending) => ending.held_bytes(),
        }
}
