//! The queue of entries between the appenders, the writer and the watchdog.
//!
//! At any time only one of writer and watchdog reports, so that every entry is reported once and in
//! order: the writer, unless the watchdog has taken over. The watchdog takes over while the writer
//! waits for the disk, and hands back once the writer has returned and the current round is over.
//!
//! An entry's bytes are charged until it is reported, and the bound is never exceeded: an appender
//! waits for space instead. That never means waiting for the disk, since the watchdog takes over
//! from a writer that does, and reporting does not block.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::super::{Committed, Entry};
use super::store_error::StoreError;
use crate::vocabulary::Record;

/// The number of entries in one transaction: few enough that the watchdog sees the disk progress.
pub(super) const MOST_AT_ONCE: usize = 2048;

/// The minimum time between the starts of two commits, so that entries in between share the next
/// one. It keeps the promise that an entry is reported within 10 ms.
const GATHER: Duration = Duration::from_millis(7);

/// An entry that has not been reported yet.
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

    /// Reports the outcome of the entry. The caller must hold no lock, since the callback may query
    /// the archive.
    pub(super) fn report(&self, record: Record) {
        let report = AssertUnwindSafe(|| self.committed.committed(self.entry.clone(), record));
        if catch_unwind(report).is_err() {
            // The callback is foreign code; its panic must not affect the entries behind.
            tracing::error!("the callback for a ledger entry panicked");
        }
    }
}

/// Entries on their way to the disk, and the outcome to report for each on success.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) entries: Vec<Waiting>,
    pub(super) records: Vec<Record>,
}

/// The next task of the writer.
pub(super) enum WriterTask {
    Entries(Vec<Waiting>),
    Tick,
    /// The queue is empty and closed.
    Close,
}

/// The next task of the watchdog.
pub(super) enum WatchdogTask {
    /// Report these as lost, the batch first. `why` is set if the watchdog has just taken over.
    Report {
        batch: Option<Arc<Batch>>,
        queue: Vec<Waiting>,
        why: Option<StoreError>,
    },
    Over,
}

pub(super) struct CommitQueue {
    state: Mutex<State>,
    /// Notified when the writer has work.
    writer: Condvar,
    /// Notified when the watchdog has work.
    watchdog: Condvar,
    /// Notified when the writer has exited.
    exited: Condvar,
    /// Notified when reported entries have released space.
    space: Condvar,
    bound: usize,
    stall_timeout: Duration,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Waiting>,
    /// Bytes of the entries in the queue.
    queued: usize,
    /// Bytes of the entries that the writer has taken and not reported.
    writing: usize,
    /// Bytes of the entries that the watchdog has taken and not reported.
    refusing: usize,
    /// The number of appenders that wait for space.
    blocked: usize,
    /// When the oldest entry came that the writer has taken and not reported.
    taken: Option<Instant>,
    /// Since when the writer has been waiting for the disk, and its batch unless that is reported.
    on_disk: Option<(Instant, Option<Arc<Batch>>)>,
    /// The watchdog reports, not the writer.
    taken_over: bool,
    /// The watchdog is in the middle of a round.
    reporting: bool,
    closing: bool,
    writer_gone: bool,
    /// When the writer, and the watchdog, last took their turns.
    turns: Turns,
}

struct Turns {
    writer: Instant,
    watchdog: Instant,
}

impl Default for Turns {
    fn default() -> Self {
        let now = Instant::now();
        Self { writer: now, watchdog: now }
    }
}

impl CommitQueue {
    pub(super) fn new(bound: usize, stall_timeout: Duration) -> Self {
        Self {
            state: Mutex::default(),
            writer: Condvar::new(),
            watchdog: Condvar::new(),
            exited: Condvar::new(),
            space: Condvar::new(),
            bound,
            stall_timeout,
        }
    }

    /// Queues an entry, or returns it if neither writer nor watchdog is left. Blocks briefly while
    /// the queue is full.
    pub(super) fn push(&self, waiting: Waiting) -> Result<(), Waiting> {
        let mut state = self.state.lock();
        loop {
            if state.writer_gone && !state.taken_over {
                return Err(waiting);
            }
            if state.held() == 0 || state.held() + waiting.bytes <= self.bound {
                break;
            }
            state.blocked += 1;
            self.watchdog.notify_one();
            self.writer.notify_one();
            self.space.wait(&mut state);
            state.blocked -= 1;
        }
        state.queued += waiting.bytes;
        state.queue.push_back(waiting);
        // Only the first and the last entry of a batch need to wake the writer.
        if state.queue.len() == 1 || state.queue.len() == MOST_AT_ONCE {
            self.writer.notify_one();
        }
        if state.taken_over && !state.reporting {
            self.watchdog.notify_one();
        }
        Ok(())
    }

    /// Waits for entries until `tick`. After a commit that began at `last` it waits [`GATHER`]
    /// before it takes the next batch.
    pub(super) fn take(&self, last: Option<Instant>, tick: Instant) -> WriterTask {
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            state.turns.writer = now;
            let until = if let Some(oldest) = state.queue.front() {
                let due = last.map_or(now, |last| oldest.since.max(last + GATHER));
                let full = state.blocked > 0 || state.queue.len() >= MOST_AT_ONCE;
                if due <= now || state.closing || full {
                    state.taken = Some(oldest.since);
                    let (entries, bytes) = state.take_batch();
                    state.writing = bytes;
                    return WriterTask::Entries(entries);
                }
                due
            } else if state.closing {
                return WriterTask::Close;
            } else if tick <= now {
                return WriterTask::Tick;
            } else {
                tick
            };
            state = wait(&self.writer, state, until.saturating_duration_since(now));
        }
    }

    /// Marks the start of a disk operation of the writer, with these entries.
    pub(super) fn begin(&self, batch: &Arc<Batch>) {
        self.state.lock().on_disk = Some((Instant::now(), Some(Arc::clone(batch))));
    }

    /// Marks its end; `false` if the watchdog has reported the entries meanwhile.
    #[must_use]
    pub(super) fn end(&self) -> bool {
        let mut state = self.state.lock();
        while state.reporting {
            self.writer.wait(&mut state);
        }
        state.on_disk = None;
        !std::mem::take(&mut state.taken_over)
    }

    /// Releases the space of the entries that the writer took and has reported.
    pub(super) fn reported(&self) {
        let mut state = self.state.lock();
        state.taken = None;
        state.writing = 0;
        self.space.notify_all();
    }

    /// Returns when the one that reports last took its turn: the writer, unless the watchdog has taken
    /// over from one that waits for the disk.
    pub(super) fn turned(&self) -> Instant {
        let state = self.state.lock();
        match state.taken_over && !state.writer_gone {
            true => state.turns.watchdog.max(state.turns.writer),
            false => state.turns.writer,
        }
    }

    /// Waits until the watchdog has work.
    pub(super) fn watch(&self) -> WatchdogTask {
        // Frequent enough to be punctual, rare enough to cost nothing.
        let pause = (self.stall_timeout / 10).max(Duration::from_millis(5));
        let mut state = self.state.lock();
        loop {
            let over = state.blocked > 0;
            state.turns.watchdog = Instant::now();
            if state.taken_over {
                // A writer that panicked leaves its batch behind.
                let left = state.writer_gone.then(|| state.on_disk.take()).flatten();
                let batch = left.and_then(|(_, batch)| batch);
                if batch.is_some() || !state.queue.is_empty() {
                    return self.round(state, batch, None);
                }
                if state.writer_gone && state.closing {
                    state.taken_over = false;
                    return WatchdogTask::Over;
                }
            } else if state.writer_gone {
                return WatchdogTask::Over;
            } else if let Some((began, batch)) = &mut state.on_disk {
                let why = if began.elapsed() >= self.stall_timeout {
                    Some(StoreError::Stalled(self.stall_timeout))
                } else if over {
                    Some(StoreError::Overflow(self.bound))
                } else {
                    None
                };
                if why.is_some() {
                    let batch = batch.take();
                    state.taken_over = true;
                    return self.round(state, batch, why);
                }
            }
            // Over the bound while the writer plans or reports: it will soon use the disk.
            let pause = if over { Duration::from_millis(2) } else { pause };
            state = wait(&self.watchdog, state, pause);
        }
    }

    fn round(
        &self,
        mut state: MutexGuard<'_, State>,
        batch: Option<Arc<Batch>>,
        why: Option<StoreError>,
    ) -> WatchdogTask {
        state.reporting = true;
        state.taken = None;
        // In small steps, so that space is released soon.
        let (queue, bytes) = state.take_batch();
        // The batch is reported in this round, or was reported in an earlier one.
        state.refusing = bytes + std::mem::take(&mut state.writing);
        WatchdogTask::Report { batch, queue, why }
    }

    /// Marks the entries that the watchdog took as reported.
    pub(super) fn finish_round(&self) {
        let mut state = self.state.lock();
        state.reporting = false;
        state.refusing = 0;
        self.writer.notify_one();
        self.space.notify_all();
    }

    /// Records that the writer thread has ended; after a panic the watchdog takes over for good.
    pub(super) fn writer_exited(&self, panicked: bool) {
        let mut state = self.state.lock();
        state.writer_gone = true;
        state.taken_over |= panicked;
        if state.on_disk.is_none() {
            // The entries that a panicked writer had not reported are lost with its stack.
            state.writing = 0;
        }
        self.watchdog.notify_one();
        self.exited.notify_all();
        self.space.notify_all();
    }

    /// Closes the queue and waits until the writer has drained it; `false` if that takes too long.
    pub(super) fn close(&self, within: Duration) -> bool {
        let mut state = self.state.lock();
        state.closing = true;
        self.writer.notify_one();
        self.watchdog.notify_one();
        let deadline = Instant::now() + within;
        while !state.writer_gone {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = wait(&self.exited, state, left);
        }
        true
    }

    pub(super) fn stall_timeout(&self) -> Duration {
        self.stall_timeout
    }

    /// Returns for how long the oldest entry has been waiting.
    pub(super) fn lag(&self) -> Duration {
        let state = self.state.lock();
        let oldest = state.taken.or(state.queue.front().map(|oldest| oldest.since));
        oldest.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl State {
    /// Returns the bytes of all entries that are not reported yet.
    fn held(&self) -> usize {
        self.queued + self.writing + self.refusing
    }

    /// Takes as many entries as fit one transaction, and returns them with their bytes.
    fn take_batch(&mut self) -> (Vec<Waiting>, usize) {
        let count = self.queue.len().min(MOST_AT_ONCE);
        let entries: Vec<Waiting> = self.queue.drain(..count).collect();
        let bytes = entries.iter().map(|waiting| waiting.bytes).sum::<usize>();
        self.queued -= bytes;
        (entries, bytes)
    }
}

fn wait<'a>(
    condition: &Condvar,
    mut state: MutexGuard<'a, State>,
    within: Duration,
) -> MutexGuard<'a, State> {
    condition.wait_for(&mut state, within);
    state
}

/// Returns an entry's approximate size in memory.
fn weight(entry: &Entry) -> usize {
    size_of::<Waiting>()
        + match entry {
            Entry::Closing(_) => 0,
            Entry::Revocation(change) => change.revocation().held_bytes(),
            Entry::Opened(opened) => opened.held_bytes(),
            Entry::Ended(ending) | Entry::OpenFailed(ending) => ending.held_bytes(),
        }
}
