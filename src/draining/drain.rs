//! Running a drain: sends Closes at the pace of its plan, and aborts what is open at the deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::job::{self, Job, Jobs};
use super::options::DrainReport;

use crate::connection::Connection;
use crate::node::{Node, NotAccepting};
use crate::policy::drain::DrainPlan;
use crate::protocol::closing_handshake::{CloseRequest, Input};
use crate::runtime::now;
use crate::vocabulary::{Cause, Direction, DrainPhase, Event};

/// How long to wait after the deadline for aborted connections to publish their endings, and for plain
/// HTTP that is cut off to get its last answer, which takes milliseconds.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often to look for connections that were still opening when the drain began, and to check
/// whether the selected ones have ended.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How often to publish the progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// A drain whose connections are selected.
pub(crate) struct Selection {
    job: Arc<Job>,
    /// The number of connections ever opened when they were selected.
    opened: u64,
    open: Vec<Arc<Connection>>,
}

/// Selects the connections; a drain of all of them also refuses new ones from now on.
pub(crate) fn prepare(node: &Node, job: Arc<Job>) -> Selection {
    let select = &job.options.select;
    if select.is_all() {
        node.refuse_new(NotAccepting::Drain);
    }
    let opened = node.registry.opened();
    let mut open = node.registry.oldest_first();
    open.retain(|connection| select.matches(&connection.origin));
    job.found(&open);
    Selection { job, opened, open }
}

/// Closes the selected connections.
///
/// # Cancel safety
/// If the future is dropped, no further connection is closed, and the job is marked as cancelled.
pub(crate) async fn drain(node: &Node, jobs: &Jobs, prepared: Selection) -> DrainReport {
    let Selection { job, opened, open } = prepared;
    let options = &job.options;
    let plan = DrainPlan::new(job.started, open.len(), options.within, options.pace);
    let mut draining = Draining { node, job: &job, opened, reported_at: now(), is_over: false };
    draining.report_progress();
    let _cancelled_if_dropped = job::CancelledIfDropped { node, jobs, job: &job };

    let phase = match draining.work(&plan, open).await {
        Progress::Due | Progress::NoneLeft => DrainPhase::Finished,
        Progress::Cancelled => DrainPhase::Cancelled,
    };
    jobs.end(node, &job, phase);
    let report = job.report();
    let (id, phase) = (&*job.id, job.phase());
    tracing::info!(
        drain = id,
        phase = phase.as_str(),
        asked = report.asked,
        cut = report.cut,
        took_ms = report.took.as_millis(),
        "the drain is over: {phase}"
    );
    draining.report_progress();
    report
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Its time has come.
    Due,
    /// All connections to close have ended.
    NoneLeft,
    /// The drain was cancelled.
    Cancelled,
}

struct Draining<'a> {
    node: &'a Node,
    job: &'a Job,
    /// The number of connections ever opened when it last looked for new ones.
    opened: u64,
    /// When the progress was last published.
    reported_at: Instant,
    /// The deadline has passed.
    is_over: bool,
}

impl Draining<'_> {
    async fn work(&mut self, plan: &DrainPlan, open: Vec<Arc<Connection>>) -> Progress {
        let mut open = open.into_iter();
        let mut closed = 0;
        while let Some(at) = plan.next_due(closed) {
            match self.wait_until(at).await {
                Progress::Due => {}
                over @ (Progress::NoneLeft | Progress::Cancelled) => return over,
            }
            let due = plan.due(now());
            open.by_ref().take(due - closed).for_each(|connection| self.close(&connection));
            closed = due;
        }
        while now() < plan.deadline() {
            if self.is_of_all() {
                self.close_newcomers();
            }
            match self.wait_until((now() + LOOK_AGAIN).min(plan.deadline())).await {
                Progress::Due => {}
                over @ (Progress::NoneLeft | Progress::Cancelled) => return over,
            }
        }
        self.is_over = true;
        if self.is_of_all() {
            self.node.plain.cut();
        }
        let last_words = now() + LAST_WORDS;
        while now() < last_words {
            self.cut_off();
            match self.wait_until((now() + LOOK_AGAIN).min(last_words)).await {
                Progress::Due => {}
                over @ (Progress::NoneLeft | Progress::Cancelled) => return over,
            }
        }
        Progress::Due
    }

    /// Closes connections that were still opening when the drain began.
    fn close_newcomers(&mut self) {
        let registry = &self.node.registry;
        let opened = registry.opened();
        registry.opened_after(self.opened).iter().for_each(|connection| self.close(connection));
        self.opened = opened;
    }

    fn is_of_all(&self) -> bool {
        self.job.options.select.is_all()
    }

    /// Closes a connection and, in a relay, its other leg too. The client's leg goes first: a Close
    /// passed on from the other leg would be recorded as the application's.
    fn close(&self, connection: &Arc<Connection>) {
        let select = &self.job.options.select;
        let other = connection.relay_peer.get().and_then(|id| self.node.registry.get(*id));
        let other = other.filter(|other| select.matches(&other.origin));
        match &other {
            Some(client) if client.origin.direction == Direction::Inbound => {
                self.close_once(client);
                self.close_once(connection);
            }
            Some(application) => {
                self.close_once(connection);
                self.close_once(application);
            }
            None => self.close_once(connection),
        }
    }

    /// Requests a connection to close, once. A connection that is closing already keeps its reason.
    fn close_once(&self, connection: &Arc<Connection>) {
        if !self.job.note_asked(connection.id) {
            return;
        }
        let options = &self.job.options;
        let frame = connection.own_frame(options.code, options.reason.as_str());
        let by = Some(self.job.requester());
        connection.close(CloseRequest { by, ..CloseRequest::new(frame, Cause::Drain) });
    }

    /// Aborts each connection that is left, once.
    fn cut_off(&self) {
        let registry = &self.node.registry;
        let left = if self.is_of_all() { registry.all() } else { self.job.left(registry) };
        for connection in left {
            if self.job.cut(connection.id) {
                connection.cut(Input::DrainDeadline(Some(self.job.requester())));
            }
        }
    }

    /// Waits until `at`, or until the drain is cancelled or nothing is left.
    async fn wait_until(&mut self, at: Instant) -> Progress {
        loop {
            let next = at.min(self.reported_at + PROGRESS_INTERVAL);
            tokio::select! {
                biased;
                () = self.job.cancelled() => return Progress::Cancelled,
                () = self.none_left() => return Progress::NoneLeft,
                () = tokio::time::sleep_until(next.into()) => {}
            }
            if now() >= self.reported_at + PROGRESS_INTERVAL {
                self.report_progress();
            }
            if now() >= at {
                return Progress::Due;
            }
        }
    }

    async fn none_left(&self) {
        if self.is_of_all() {
            // After the deadline, attempts that have not opened are not waited for.
            return match self.is_over {
                false => self.node.none_left().await,
                true => self.node.none_served().await,
            };
        }
        while !self.job.left(&self.node.registry).is_empty() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn report_progress(&mut self) {
        self.reported_at = now();
        let progress = self.job.progress(self.node);
        self.node.publisher.announce(Event::Drain(Arc::new(progress)));
    }
}
