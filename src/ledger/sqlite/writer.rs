//! The writer: the one thread that writes, and the watchdog that answers for it when it hangs.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::Health;
use super::book::Book;
use super::checkpoint::Checkpointer;
use super::desk::{Batch, Desk, Waiting, Watch, Work};
use super::retention::Bounds;
use super::rows::Plan;
use super::store::{self, Place, Store};
use super::trouble::Trouble;
use crate::vocabulary::Record;

/// How often the writer says that it is alive, and looks after what is too old.
const TICK: Duration = Duration::from_secs(1);

/// How often a store that cannot be opened or written is tried again.
const AGAIN: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1000 });

/// What the writer, the watchdog and those who ask have in common.
pub(super) struct Shared {
    pub(super) place: Place,
    pub(super) bounds: Bounds,
    pub(super) desk: Desk,
    pub(super) book: Book,
    /// Whether new connections are refused while it fails.
    pub(super) refuse: bool,
    failing: AtomicBool,
    failure: Mutex<Option<Failure>>,
    /// How many connections have their endings only because a process died.
    pub(super) recovered: AtomicU64,
    /// Which opening of the file readers should see.
    pub(super) generation: AtomicU64,
}

struct Failure {
    problem: String,
    since: Instant,
    /// How many endings had been lost when it began.
    lost_before: u64,
}

impl Shared {
    pub(super) fn new(place: Place, bounds: Bounds, desk: Desk, book: Book, refuse: bool) -> Self {
        Self {
            place,
            bounds,
            desk,
            book,
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
        match &*self.failure.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Health::Good,
            Some(Failure { problem, .. }) => {
                Health::Failing { problem: problem.clone(), refuse: self.refuse }
            }
        }
    }

    /// Notes that nothing can be stored, and says so once.
    pub(super) fn fails(&self, trouble: &Trouble) {
        let problem = trouble.sentence(&self.place.path);
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *failure {
            Some(failure) => failure.problem = problem,
            None => {
                if self.refuse {
                    tracing::error!(
                        "endings cannot be stored, new connections are refused: {problem}"
                    );
                } else {
                    tracing::warn!("endings cannot be stored, they are logged instead: {problem}");
                }
                let lost_before = self.book.unrecorded();
                *failure = Some(Failure { problem, since: Instant::now(), lost_before });
            }
        }
        self.failing.store(true, Ordering::Release);
    }

    /// Notes that things are stored again.
    fn is_well(&self) {
        self.failing.store(false, Ordering::Release);
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Failure { since, lost_before, .. }) = failure {
            tracing::info!(
                lost = self.book.unrecorded() - lost_before,
                failed_for_ms = since.elapsed().as_millis(),
                "endings are stored again"
            );
        }
    }
}

/// The writer's own: what only its thread touches.
pub(super) struct Writer {
    shared: Arc<Shared>,
    checkpointer: Checkpointer,
    lock: Option<File>,
    store: Option<Store>,
    /// Tells the open connections of this process from those of others.
    run: i64,
    /// The last number that was given away.
    sequence: u64,
    /// When the last commit began.
    last: Option<Instant>,
    tick: Instant,
    /// When to try again, while it fails.
    again: Option<Instant>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, checkpointer: Checkpointer) -> Self {
        let now = Instant::now();
        // Random enough to tell processes apart.
        let run = rand::random();
        Self {
            shared,
            checkpointer,
            lock: None,
            store: None,
            run,
            sequence: 0,
            last: None,
            tick: now + TICK,
            again: None,
        }
    }

    /// Opens the store, and writes the endings of connections that a process left behind.
    pub(super) fn open(&mut self) -> Result<u64, Trouble> {
        if self.lock.is_none() {
            self.lock = Some(store::lock(&self.shared.place.path)?);
        }
        self.store = None;
        let mut opened = Store::open(&self.shared.place, self.run)?;
        let open = self.shared.book.open();
        let done = opened.reconcile(&open, &mut self.sequence)?;
        self.shared.book.placed(&done.rows);
        self.shared.recovered.fetch_add(done.died, Ordering::Relaxed);
        self.shared.generation.fetch_add(1, Ordering::Release);
        self.store = Some(opened);
        Ok(done.died)
    }

    /// Notes that the first attempt to open failed.
    pub(super) fn open_later(&mut self, trouble: &Trouble) {
        self.fail(trouble);
    }

    /// Works until the ledger is closed.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            let (last, until) = match self.again {
                None => (self.last, self.tick),
                // What cannot be stored is told at once.
                Some(again) => (None, again),
            };
            match shared.desk.take(last, until) {
                Work::Entries(entries) if self.again.is_some() => self.turn_away(&entries),
                Work::Entries(entries) => self.store(entries),
                Work::Tick => {}
                Work::Close => return self.close(),
            }
            let now = Instant::now();
            match self.again {
                Some(again) if again <= now => self.try_again(),
                None if self.tick <= now => self.tick(),
                Some(_) | None => {}
            }
        }
    }

    fn store(&mut self, entries: Vec<Waiting>) {
        self.last = Some(Instant::now());
        let (plan, batch) = self.shared.book.plan(entries, &mut self.sequence);
        let batch = Arc::new(batch);
        let written = self.on_disk(&batch, |store, _| store.commit(&plan));
        match written {
            Some(Ok(())) => {
                self.shared.book.stored(&batch);
                tell(&batch.entries, &batch.records);
                self.shared.desk.told();
                let checkpointed = self.on_disk(&Arc::default(), Store::checkpoint);
                self.check(checkpointed);
            }
            Some(Err(trouble)) => {
                self.fail(&trouble);
                let records = self.shared.book.lost(&batch);
                tell(&batch.entries, &records);
                self.shared.desk.told();
            }
            // The watchdog has told it.
            None => self.again = Some(Instant::now()),
        }
    }

    fn turn_away(&mut self, entries: &[Waiting]) {
        let records = self.shared.book.refused(entries);
        tell(entries, &records);
        self.shared.desk.told();
    }

    /// Does something that waits for the disk; `None` if the watchdog lost its patience meanwhile.
    fn on_disk<T>(
        &mut self,
        batch: &Arc<Batch>,
        work: impl FnOnce(&mut Store, &Checkpointer) -> Result<T, Trouble>,
    ) -> Option<Result<T, Trouble>> {
        let store = self.store.as_mut()?;
        self.shared.desk.begin(batch);
        let done = work(store, &self.checkpointer);
        self.shared.desk.end().then_some(done)
    }

    /// Takes note of what became of work that nobody waits for; returns what came of it.
    fn check<T>(&mut self, done: Option<Result<T, Trouble>>) -> Option<T> {
        match done {
            Some(Ok(value)) => Some(value),
            Some(Err(trouble)) => {
                self.fail(&trouble);
                None
            }
            None => {
                self.again = Some(Instant::now());
                None
            }
        }
    }

    fn fail(&mut self, trouble: &Trouble) {
        self.shared.fails(trouble);
        self.again = Some(Instant::now() + AGAIN);
    }

    fn try_again(&mut self) {
        self.shared.desk.begin(&Arc::default());
        let opened = self.open();
        let in_time = self.shared.desk.end();
        match opened {
            Ok(died) if in_time => {
                if died > 0 {
                    tracing::info!(died, "connections of a process that died have their endings");
                }
                self.again = None;
                self.tick = Instant::now();
                self.shared.is_well();
            }
            // What came meanwhile was told as lost: once more.
            Ok(_) => self.again = Some(Instant::now()),
            Err(trouble) => self.fail(&trouble),
        }
    }

    /// Says that the process is alive, stores what was counted, and removes what is too old.
    fn tick(&mut self) {
        self.tick = Instant::now() + TICK;
        let bounds = self.shared.bounds;
        let counts = self.shared.book.take_counts();
        let plan = Plan { sequence: self.sequence, counts, ..Plan::default() };
        let idle = plan.counts.is_empty() && self.shared.book.none_open();
        let ticked = self.on_disk(&Arc::default(), |store, _| {
            store.check_place()?;
            if idle { store.shrink() } else { store.commit(&plan) }
        });
        if !matches!(ticked, Some(Ok(()))) {
            self.shared.book.put_back(plan.counts);
        }
        if self.check(ticked).is_none() {
            return;
        }
        let tidied = self.on_disk(&Arc::default(), |store, beside| {
            let more = store.retain(bounds)?;
            store.checkpoint(beside)?;
            Ok(more)
        });
        if self.check(tidied) == Some(true) {
            // In small steps, with entries in between.
            self.tick = Instant::now();
        }
    }

    fn close(mut self) {
        if self.again.is_some() {
            // The last chance to say which connections are no longer open.
            self.try_again();
        }
        let counts = self.shared.book.take_counts();
        let plan = Plan { sequence: self.sequence, counts, ..Plan::default() };
        if self.again.is_none()
            && let Some(Err(trouble)) = self.on_disk(&Arc::default(), |store, _| store.close(&plan))
        {
            self.shared.fails(&trouble);
        }
    }
}

/// Runs the watchdog until the writer is gone.
pub(super) fn watch(shared: &Shared) {
    loop {
        match shared.desk.watch() {
            Watch::Over => return,
            Watch::Tell { batch, queue, why } => {
                if let Some(why) = why {
                    shared.fails(&why);
                }
                if let Some(batch) = batch {
                    let records = shared.book.lost(&batch);
                    tell(&batch.entries, &records);
                }
                let records = shared.book.refused(&queue);
                tell(&queue, &records);
                shared.desk.round_over();
            }
        }
    }
}

fn tell(entries: &[Waiting], records: &[Record]) {
    for (waiting, record) in entries.iter().zip(records) {
        waiting.tell(*record);
    }
}
