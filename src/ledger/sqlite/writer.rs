//! The writer thread, and the watchdog that reports in its place while it hangs.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use super::super::Health;
use super::checkpoint::Checkpointer;
use super::commit_queue::{Batch, CommitQueue, Waiting, WatchdogTask, WriterTask};
use super::db_file::DbFile;
use super::marks::Marks;
use super::reader::Readers;
use super::retention::Bounds;
use super::rows::Plan;
use super::store::{self, Store, StoreConfig};
use super::store_error::StoreError;
use super::tracker::Tracker;
use crate::settings::Synchronous;
use crate::vocabulary::{IdSet, Record};

/// How often the writer records that it is alive, and removes old rows.
const TICK: Duration = Duration::from_secs(1);

/// How long the writer waits before it retries a store that cannot be opened or written.
const RETRY_INTERVAL: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1000 });

/// The state shared by the writer, the watchdog and the callers.
pub(super) struct Shared {
    pub(super) config: StoreConfig,
    pub(super) bounds: Mutex<Bounds>,
    pub(super) commits: CommitQueue,
    pub(super) tracker: Tracker,
    /// Whether new connections are refused while the ledger fails.
    pub(super) refuse: bool,
    failing: AtomicBool,
    failure: Mutex<Option<Failure>>,
    /// The number of endings written on behalf of a dead process.
    pub(super) recovered: AtomicU64,
    /// The generation of the file that readers should have open; 0 while no file is open.
    pub(super) generation: AtomicU64,
    pub(super) readers: Readers,
}

struct Failure {
    problem: String,
    since: Instant,
    /// The number of endings that had been lost when the failure began.
    lost_before: u64,
}

impl Shared {
    pub(super) fn new(
        config: StoreConfig,
        bounds: Bounds,
        commits: CommitQueue,
        tracker: Tracker,
        refuse: bool,
    ) -> Self {
        let readers = Readers::new(config.path.clone());
        Self {
            readers,
            config,
            bounds: Mutex::new(bounds),
            commits,
            tracker,
            refuse,
            failing: AtomicBool::new(false),
            failure: Mutex::default(),
            recovered: AtomicU64::new(0),
            generation: AtomicU64::new(0),
        }
    }

    pub(super) fn refuses_new(&self) -> bool {
        self.refuse && self.failing.load(Ordering::Acquire)
    }

    pub(super) fn health(&self) -> Health {
        match &*self.failure.lock() {
            None => Health::Good,
            Some(Failure { problem, .. }) => {
                Health::Failing { problem: problem.clone(), refuse: self.refuse }
            }
        }
    }

    /// Records that nothing can be stored, and logs that once.
    pub(super) fn mark_failing(&self, error: &StoreError) {
        let problem = error.message(&self.config.path);
        let mut failure = self.failure.lock();
        match &mut *failure {
            Some(failure) => failure.problem = problem,
            None => {
                if self.refuse {
                    tracing::error!(
                        "endings cannot be stored, so new connections are refused: {problem}"
                    );
                } else {
                    tracing::warn!("endings cannot be stored, so they are only logged: {problem}");
                }
                let lost_before = self.tracker.unrecorded();
                *failure = Some(Failure { problem, since: Instant::now(), lost_before });
            }
        }
        self.failing.store(true, Ordering::Release);
    }

    /// Records that the ledger has recovered, and logs that once.
    fn mark_healthy(&self) {
        self.failing.store(false, Ordering::Release);
        let failure = self.failure.lock().take();
        if let Some(Failure { since, lost_before, .. }) = failure {
            tracing::info!(
                lost = self.tracker.unrecorded() - lost_before,
                failed_for_ms = since.elapsed().as_millis(),
                "endings are stored again"
            );
        }
    }
}

/// The state of the writer thread.
pub(super) struct Writer {
    shared: Arc<Shared>,
    checkpointer: Checkpointer,
    lock: Option<File>,
    store: Option<Store>,
    /// The file of the previous store, while no store is open.
    db_file: Option<DbFile>,
    /// How many times the file was opened.
    openings: u64,
    marks: Option<Marks>,
    /// Marks could not be written, and that was logged.
    unmarkable: bool,
    /// Distinguishes the open connections of this process from those of others.
    run: i64,
    /// The last sequence number assigned.
    sequence: u64,
    /// When the last commit began.
    last: Option<Instant>,
    tick: Instant,
    /// When to retry, while the store fails.
    retry_at: Option<Instant>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, checkpointer: Checkpointer) -> Self {
        let now = Instant::now();
        // Random enough to distinguish processes.
        let run = rand::random();
        Self {
            shared,
            checkpointer,
            lock: None,
            store: None,
            db_file: None,
            openings: 0,
            marks: None,
            unmarkable: false,
            run,
            sequence: 0,
            last: None,
            tick: now + TICK,
            retry_at: None,
        }
    }

    /// Opens the store, and writes the endings of connections left behind by a dead process.
    pub(super) fn open(&mut self) -> Result<u64, StoreError> {
        if self.lock.is_none() {
            self.lock = Some(store::lock(&self.shared.config.path)?);
        }
        if let Some(store) = self.store.take() {
            self.db_file = Some(store.into_db_file());
        }
        let tracker = &self.shared.tracker;
        // A connection that ends from here on still counts as open below, and is marked later.
        let unmarked = tracker.take_unmarked(&[]);
        if let Err(error) = self.write_marks(unmarked) {
            self.warn_unmarkable(&error);
        }
        // SQLite shares one WAL index per file within a process, and that of these connections is
        // stale.
        if self.shared.generation.load(Ordering::Acquire) == 0 && !self.shared.readers.disconnect()
        {
            return Err(StoreError::Overwritten);
        }
        let mut opened = Store::open(&self.shared.config, self.run, self.db_file.take())?;
        let open = self.shared.tracker.open();
        let marks = self.marks()?;
        marks.reserve(marks.marked().len() + open.len()).map_err(marks_error)?;
        let marked = marks.marked().clone();
        let revocations = self.shared.tracker.revocations();
        let done = opened.reconcile(&open, &marked, revocations, &mut self.sequence)?;
        // None of the marked connections has a row any more.
        self.marks()?.clear().map_err(marks_error)?;
        self.unmarkable = false;
        if done.unrecorded > 0 {
            tracing::info!(
                unrecorded = done.unrecorded,
                "connections ended while the ledger could not be written: their endings are only \
                 in the log"
            );
        }
        self.shared.tracker.set_rows(&done.rows);
        self.shared.tracker.set_revocations(done.revocations);
        self.shared.recovered.fetch_add(done.died, Ordering::Relaxed);
        self.openings += 1;
        self.shared.generation.store(self.openings, Ordering::Release);
        self.store = Some(opened);
        Ok(done.died)
    }

    /// Records that the first attempt to open failed.
    pub(super) fn open_failed(&mut self, error: &StoreError) {
        self.fail(error);
    }

    /// Runs until the ledger is closed.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            let (last, until) = match self.retry_at {
                None => (self.last, self.tick),
                // While the store fails, entries are reported at once.
                Some(retry_at) => (None, retry_at),
            };
            match shared.commits.take(last, until) {
                WriterTask::Entries(entries) if self.retry_at.is_some() => self.refuse(entries),
                WriterTask::Entries(entries) => self.store(entries),
                WriterTask::Tick => {}
                WriterTask::Close => return self.close(),
            }
            let now = Instant::now();
            match self.retry_at {
                Some(retry_at) if retry_at <= now => self.retry(),
                None if self.tick <= now => self.tick(),
                Some(_) | None => {}
            }
        }
    }

    fn store(&mut self, entries: Vec<Waiting>) {
        self.last = Some(Instant::now());
        let (plan, batch) = self.shared.tracker.plan(entries, &mut self.sequence);
        let batch = Arc::new(batch);
        // Reserve space for the marks before any row is written.
        let rows = match plan.opened.len() {
            0 => 0,
            opened => self.shared.tracker.rows() + opened,
        };
        let Self { marks, .. } = self;
        let mut marks = marks.take();
        let written = self.on_disk(&batch, |store, _| {
            if let Some(marks) = &mut marks {
                marks.reserve(marks.marked().len() + rows).map_err(marks_error)?;
            }
            store.commit(&plan)
        });
        self.marks = marks;
        match written {
            Some(Ok(())) => {
                self.shared.tracker.stored(&batch);
                report(&batch.entries, &batch.records);
                self.shared.commits.reported();
                let checkpointed = self.on_disk(&Arc::default(), Store::checkpoint);
                self.check(checkpointed);
            }
            Some(Err(error)) => {
                self.fail(&error);
                if self.mark(&batch) {
                    let records = self.shared.tracker.lost(&batch);
                    report(&batch.entries, &records);
                    self.shared.commits.reported();
                }
            }
            // The watchdog has reported the batch.
            None => self.retry_at = Some(Instant::now()),
        }
    }

    fn refuse(&mut self, entries: Vec<Waiting>) {
        // If the watchdog has to report them, they are all lost.
        let records = vec![Record::Failed; entries.len()];
        let batch = Arc::new(Batch { entries, records });
        if self.mark(&batch) {
            let records = self.shared.tracker.refused(&batch.entries);
            report(&batch.entries, &records);
            self.shared.commits.reported();
        }
    }

    /// Marks the connections of a lost batch that have ended and may have rows; `false` if the
    /// watchdog has reported the batch meanwhile.
    #[must_use]
    fn mark(&mut self, batch: &Arc<Batch>) -> bool {
        let unmarked = self.shared.tracker.take_unmarked(&batch.entries);
        if unmarked.is_empty() {
            return true;
        }
        self.shared.commits.begin(batch);
        let marked = self.write_marks(unmarked);
        let in_time = self.shared.commits.end();
        if let Err(error) = marked {
            self.warn_unmarkable(&error);
        }
        in_time
    }

    fn write_marks(&mut self, ids: IdSet) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let durably = self.shared.config.synchronous == Synchronous::Full;
        let written = self
            .marks()
            .and_then(|marks| marks.mark(ids.iter().copied(), durably).map_err(marks_error));
        if written.is_err() {
            self.shared.tracker.put_back_unmarked(ids);
        }
        written
    }

    fn warn_unmarkable(&mut self, error: &StoreError) {
        if !std::mem::replace(&mut self.unmarkable, true) {
            tracing::warn!(
                "if the daemon stops before the ledger recovers, connections that end now may be \
                 recorded a second time, as process_died: {}",
                error.message(&self.shared.config.path)
            );
        }
    }

    fn marks(&mut self) -> Result<&mut Marks, StoreError> {
        let marks = match self.marks.take() {
            Some(marks) => marks,
            None => Marks::open(&self.shared.config.path).map_err(marks_error)?,
        };
        Ok(self.marks.insert(marks))
    }

    /// Runs an operation that waits for the disk; `None` if the watchdog took over meanwhile.
    fn on_disk<T>(
        &mut self,
        batch: &Arc<Batch>,
        work: impl FnOnce(&mut Store, &Checkpointer) -> Result<T, StoreError>,
    ) -> Option<Result<T, StoreError>> {
        let store = self.store.as_mut()?;
        self.shared.commits.begin(batch);
        let done = work(store, &self.checkpointer);
        self.shared.commits.end().then_some(done)
    }

    /// Handles the result of an operation that no entry waits for; `None` if it failed.
    fn check<T>(&mut self, done: Option<Result<T, StoreError>>) -> Option<T> {
        match done {
            Some(Ok(value)) => Some(value),
            Some(Err(error)) => {
                self.fail(&error);
                None
            }
            None => {
                self.retry_at = Some(Instant::now());
                None
            }
        }
    }

    fn fail(&mut self, error: &StoreError) {
        self.shared.mark_failing(error);
        if matches!(error, StoreError::Gone | StoreError::Overwritten) && self.store.is_some() {
            self.shared.generation.store(0, Ordering::Release);
            self.shared.readers.disconnect();
            self.db_file = self.store.take().map(|store| store.abandon(error));
        }
        self.retry_at = Some(Instant::now() + RETRY_INTERVAL);
    }

    fn retry(&mut self) {
        self.shared.commits.begin(&Arc::default());
        let opened = self.open().and_then(|died| {
            // Require some free space: otherwise the health would change with every few bytes.
            self.store.as_mut().map_or(Ok(()), Store::prove_space)?;
            Ok(died)
        });
        let in_time = self.shared.commits.end();
        match opened {
            Ok(died) if in_time => {
                if died > 0 {
                    tracing::info!(
                        died,
                        "recorded endings for the connections of a process that died"
                    );
                }
                self.retry_at = None;
                self.tick = Instant::now();
                self.shared.mark_healthy();
            }
            // Entries were reported as lost meanwhile: reconcile again.
            Ok(_) => self.retry_at = Some(Instant::now()),
            Err(error) => self.fail(&error),
        }
    }

    /// Records that the process is alive, stores the counts, and removes old rows.
    fn tick(&mut self) {
        self.tick = Instant::now() + TICK;
        let bounds = *self.shared.bounds.lock();
        let counts = self.shared.tracker.take_counts();
        let plan = Plan { sequence: self.sequence, counts, ..Plan::default() };
        let idle = plan.counts.is_empty() && self.shared.tracker.none_open();
        let ticked = self.on_disk(&Arc::default(), |store, _| {
            store.check_file()?;
            if idle { store.shrink() } else { store.commit(&plan) }
        });
        if !matches!(ticked, Some(Ok(()))) {
            self.shared.tracker.put_back(plan.counts);
        }
        if self.check(ticked).is_none() {
            return;
        }
        let revocations = self.shared.tracker.expire_revocations(SystemTime::now());
        let tidied = self.on_disk(&Arc::default(), |store, checkpointer| {
            let more = store.retain(bounds, revocations as u64)?;
            store.checkpoint(checkpointer)?;
            Ok(more)
        });
        if self.check(tidied) == Some(true) {
            // Continue soon, in small steps with entries in between.
            self.tick = Instant::now();
        }
    }

    /// Stores the remaining counts and records a clean stop.
    fn close(mut self) {
        if self.retry_at.is_some() {
            // The last chance to record which connections have ended.
            self.retry();
        }
        let counts = self.shared.tracker.take_counts();
        let plan = Plan { sequence: self.sequence, counts, ..Plan::default() };
        if self.retry_at.is_none()
            && let Some(Err(error)) = self.on_disk(&Arc::default(), |store, _| store.close(&plan))
        {
            self.fail(&error);
        }
    }
}

/// Wraps an error of the file of marks.
fn marks_error(error: std::io::Error) -> StoreError {
    StoreError::Io("its file of marks (PATH.ended) cannot be written", error)
}

/// Runs the watchdog until the writer has exited.
pub(super) fn watch(shared: &Shared) {
    loop {
        match shared.commits.watch() {
            WatchdogTask::Over => return,
            WatchdogTask::Report { batch, queue, why } => {
                let reported = catch_unwind(AssertUnwindSafe(|| {
                    if let Some(why) = why {
                        shared.mark_failing(&why);
                    }
                    if let Some(batch) = batch {
                        let records = shared.tracker.lost(&batch);
                        report(&batch.entries, &records);
                    }
                    let records = shared.tracker.refused(&queue);
                    report(&queue, &records);
                }));
                // Also after a panic, or the writer would never report again.
                shared.commits.finish_round();
                if let Err(panic) = reported {
                    resume_unwind(panic);
                }
            }
        }
    }
}

fn report(entries: &[Waiting], records: &[Record]) {
    for (waiting, record) in entries.iter().zip(records) {
        waiting.report(*record);
    }
}
