//! The writer: the one thread that writes, and the watchdog that answers for it when it hangs.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::Health;
use super::book::Book;
use super::checkpoint::Checkpointer;
use super::desk::{Batch, Desk, Waiting, Watch, Work};
use super::marks::Marks;
use super::reader::Readers;
use super::retention::Bounds;
use super::rows::Plan;
use super::sight::Sight;
use super::store::{self, Place, Store};
use super::trouble::Trouble;
use crate::config::Synchronous;
use crate::vocabulary::{IdSet, Record};

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
    /// Which opening of the file readers should see; 0 while there is none.
    pub(super) generation: AtomicU64,
    pub(super) readers: Readers,
}

struct Failure {
    problem: String,
    since: Instant,
    /// How many endings had been lost when it began.
    lost_before: u64,
}

impl Shared {
    pub(super) fn new(place: Place, bounds: Bounds, desk: Desk, book: Book, refuse: bool) -> Self {
        let readers = Readers::new(place.path.clone());
        Self {
            readers,
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
    /// The file of the last store, while there is none.
    sight: Option<Sight>,
    /// How often the file was opened.
    openings: u64,
    marks: Option<Marks>,
    /// Marks could not be written, and that was said.
    unmarkable: bool,
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
            sight: None,
            openings: 0,
            marks: None,
            unmarkable: false,
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
        if let Some(store) = self.store.take() {
            self.sight = Some(store.let_go());
        }
        let book = &self.shared.book;
        // Whoever ends from here on is still open below, and is marked another time.
        let unmarked = book.take_unmarked(&[]);
        if let Err(trouble) = self.write_marks(unmarked) {
            self.say_unmarkable(&trouble);
        }
        // Of one file SQLite has one index of the log in a process, and theirs is of another time.
        if self.shared.generation.load(Ordering::Acquire) == 0 && !self.shared.readers.let_go() {
            return Err(Trouble::Overwritten);
        }
        let mut opened = Store::open(&self.shared.place, self.run, self.sight.take())?;
        let open = self.shared.book.open();
        let marks = self.marks()?;
        marks.reserve(marks.marked().len() + open.len()).map_err(no_room)?;
        let marked = marks.marked().clone();
        let done = opened.reconcile(&open, &marked, &mut self.sequence)?;
        // All that was marked was not open any more, and now has no row either.
        self.marks()?.clear().map_err(no_room)?;
        self.unmarkable = false;
        if done.unrecorded > 0 {
            tracing::info!(
                unrecorded = done.unrecorded,
                "connections had ended while the ledger could not be written: their endings are in \
                 the log of that time"
            );
        }
        self.shared.book.placed(&done.rows);
        self.shared.recovered.fetch_add(done.died, Ordering::Relaxed);
        self.openings += 1;
        self.shared.generation.store(self.openings, Ordering::Release);
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
                Work::Entries(entries) if self.again.is_some() => self.turn_away(entries),
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
        // No row is written without room to mark it.
        let rows = match plan.opened.len() {
            0 => 0,
            opened => self.shared.book.rows() + opened,
        };
        let Self { marks, .. } = self;
        let mut marks = marks.take();
        let written = self.on_disk(&batch, |store, _| {
            if let Some(marks) = &mut marks {
                marks.reserve(marks.marked().len() + rows).map_err(no_room)?;
            }
            store.commit(&plan)
        });
        self.marks = marks;
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
                if self.mark(&batch) {
                    let records = self.shared.book.lost(&batch);
                    tell(&batch.entries, &records);
                    self.shared.desk.told();
                }
            }
            // The watchdog has told it.
            None => self.again = Some(Instant::now()),
        }
    }

    fn turn_away(&mut self, entries: Vec<Waiting>) {
        // Should the watchdog have to tell them, they are all lost.
        let records = vec![Record::Failed; entries.len()];
        let batch = Arc::new(Batch { entries, records });
        if self.mark(&batch) {
            let records = self.shared.book.refused(&batch.entries);
            tell(&batch.entries, &records);
            self.shared.desk.told();
        }
    }

    /// Marks those of a lost batch that have ended and may have rows; `false` if the watchdog has
    /// told the batch meanwhile.
    #[must_use]
    fn mark(&mut self, batch: &Arc<Batch>) -> bool {
        let unmarked = self.shared.book.take_unmarked(&batch.entries);
        if unmarked.is_empty() {
            return true;
        }
        self.shared.desk.begin(batch);
        let marked = self.write_marks(unmarked);
        let in_time = self.shared.desk.end();
        if let Err(trouble) = marked {
            self.say_unmarkable(&trouble);
        }
        in_time
    }

    fn write_marks(&mut self, ids: IdSet) -> Result<(), Trouble> {
        if ids.is_empty() {
            return Ok(());
        }
        let durably = self.shared.place.synchronous == Synchronous::Full;
        let written = self
            .marks()
            .and_then(|marks| marks.mark(ids.iter().copied(), durably).map_err(no_room));
        if written.is_err() {
            self.shared.book.put_back_unmarked(ids);
        }
        written
    }

    fn say_unmarkable(&mut self, trouble: &Trouble) {
        if !std::mem::replace(&mut self.unmarkable, true) {
            tracing::warn!(
                "connections that end now may be recorded once more, as process_died, should the \
                 daemon stop before the ledger is mended: {}",
                trouble.sentence(&self.shared.place.path)
            );
        }
    }

    fn marks(&mut self) -> Result<&mut Marks, Trouble> {
        let marks = match self.marks.take() {
            Some(marks) => marks,
            None => Marks::open(&self.shared.place.path).map_err(no_room)?,
        };
        Ok(self.marks.insert(marks))
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
        if matches!(trouble, Trouble::Gone | Trouble::Overwritten) && self.store.is_some() {
            self.shared.generation.store(0, Ordering::Release);
            self.shared.readers.let_go();
            self.sight = self.store.take().map(|store| store.abandon(trouble));
        }
        self.again = Some(Instant::now() + AGAIN);
    }

    fn try_again(&mut self) {
        self.shared.desk.begin(&Arc::default());
        let opened = self.open().and_then(|died| {
            // Not before there is room again: else it would be said whenever a few bytes fit.
            self.store.as_mut().map_or(Ok(()), Store::prove_room)?;
            Ok(died)
        });
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

    /// Stores the last, or marks who has ended if nothing can be stored.
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
            self.fail(&trouble);
        }
    }
}

/// The file of marks cannot be used.
fn no_room(error: std::io::Error) -> Trouble {
    Trouble::Io("its file of marks (PATH.ended) cannot be written", error)
}

/// Runs the watchdog until the writer is gone.
pub(super) fn watch(shared: &Shared) {
    loop {
        match shared.desk.watch() {
            Watch::Over => return,
            Watch::Tell { batch, queue, why } => {
                let told = catch_unwind(AssertUnwindSafe(|| {
                    if let Some(why) = why {
                        shared.fails(&why);
                    }
                    if let Some(batch) = batch {
                        let records = shared.book.lost(&batch);
                        tell(&batch.entries, &records);
                    }
                    let records = shared.book.refused(&queue);
                    tell(&queue, &records);
                }));
                // Also after a panic, or the writer would never tell again.
                shared.desk.round_over();
                if let Err(panic) = told {
                    resume_unwind(panic);
                }
            }
        }
    }
}

fn tell(entries: &[Waiting], records: &[Record]) {
    for (waiting, record) in entries.iter().zip(records) {
        waiting.tell(*record);
    }
}
