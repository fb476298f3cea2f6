//! What is known of a drain while it runs and afterwards.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use parking_lot::{Mutex, MutexGuard};

use tokio::sync::watch;

use super::options::{DrainOptions, DrainReport, DrainUnderWay};
use crate::connection::Connection;
use crate::node::registry::Registry;
use crate::node::{Node, NotAccepting};
use crate::runtime::now;
use crate::vocabulary::{
    ConnectionId, DrainPhase, DrainProgress, Event, IdSet, Requester, Stragglers,
};

/// A drain: what it was asked to do, and how far it is.
pub(crate) struct Job {
    pub(crate) id: Arc<str>,
    pub(crate) options: DrainOptions,
    pub(crate) started: Instant,
    started_at: SystemTime,
    tally: Mutex<Tally>,
    cancel: watch::Sender<bool>,
}

struct Tally {
    phase: DrainPhase,
    total: usize,
    /// Those that had not ended when somebody last looked.
    left: IdSet,
    asked: IdSet,
    cut: IdSet,
    ended: Option<Instant>,
}

impl Job {
    fn new(options: DrainOptions) -> Self {
        let tally = Tally {
            phase: DrainPhase::Running,
            total: 0,
            left: IdSet::default(),
            asked: IdSet::default(),
            cut: IdSet::default(),
            ended: None,
        };
        Self {
            id: ConnectionId::new().short().into(),
            options,
            started: now(),
            started_at: SystemTime::now(),
            tally: Mutex::new(tally),
            cancel: watch::Sender::new(false),
        }
    }

    /// Returns whom endings name: the signal, or the drain.
    pub(crate) fn requester(&self) -> Requester {
        match &self.options.by {
            Some(by @ (Requester::Signal(_) | Requester::Drain(_))) => by.clone(),
            Some(Requester::Api(_)) | None => Requester::Drain(Arc::clone(&self.id)),
        }
    }

    pub(crate) fn found(&self, open: &[Arc<Connection>]) {
        let mut tally = self.lock();
        tally.total = open.len();
        tally.left.extend(open.iter().map(|connection| connection.id));
    }

    /// Takes note that a connection is asked to close; `false` if it was before.
    pub(crate) fn note_asked(&self, id: ConnectionId) -> bool {
        let mut tally = self.lock();
        if !tally.asked.insert(id) {
            return false;
        }
        if tally.left.insert(id) {
            tally.total += 1;
        }
        true
    }

    /// Takes note that a connection is cut off; `false` if it was before.
    pub(crate) fn cut(&self, id: ConnectionId) -> bool {
        self.lock().cut.insert(id)
    }

    /// Returns those that are left.
    pub(crate) fn left(&self, registry: &Registry) -> Vec<Arc<Connection>> {
        self.lock().look(registry)
    }

    pub(crate) fn phase(&self) -> DrainPhase {
        self.lock().phase
    }

    /// Takes note that it is over; only the first call counts.
    fn end(&self, phase: DrainPhase) {
        let mut tally = self.lock();
        if tally.phase == DrainPhase::Running {
            tally.phase = phase;
            tally.ended = Some(now());
        }
    }

    pub(crate) fn report(&self) -> DrainReport {
        let tally = self.lock();
        let took = tally.ended.unwrap_or_else(now).saturating_duration_since(self.started);
        DrainReport { asked: tally.asked.len(), cut: tally.cut.len(), took }
    }

    /// Returns how far it is.
    pub(crate) fn progress(&self, registry: &Registry) -> DrainProgress {
        let report = self.report();
        let mut left = Stragglers::default();
        let mut tally = self.lock();
        tally.look(registry).iter().for_each(|connection| left.count(connection.state()));
        DrainProgress {
            id: Arc::clone(&self.id),
            phase: tally.phase,
            select: self.options.select.clone(),
            stay: self.options.stay,
            code: self.options.code,
            reason: self.options.reason.clone(),
            by: self.options.by.clone(),
            started_at: self.started_at,
            within: self.options.within,
            took: report.took,
            total: tally.total,
            asked: report.asked,
            closed: tally.total - left.total(),
            cut: report.cut,
            left,
        }
    }

    /// Waits until somebody calls it off. Cancel safe.
    pub(crate) async fn cancelled(&self) {
        // The sender is ours, so there is no error.
        let _ = self.cancel.subscribe().wait_for(|cancelled| *cancelled).await;
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock()
    }
}

impl Tally {
    /// Returns those that have not ended, and forgets the others.
    fn look(&mut self, registry: &Registry) -> Vec<Arc<Connection>> {
        let left: Vec<_> = self.left.iter().filter_map(|id| registry.get(*id)).collect();
        self.left = left.iter().map(|connection| connection.id).collect();
        left
    }
}

/// Says of a drain whose future was dropped that it was cancelled.
pub(crate) struct CancelledIfDropped<'a> {
    pub(crate) node: &'a Node,
    pub(crate) jobs: &'a Jobs,
    pub(crate) job: &'a Job,
}

impl Drop for CancelledIfDropped<'_> {
    fn drop(&mut self) {
        if self.job.phase() == DrainPhase::Running {
            self.jobs.end(self.node, self.job, DrainPhase::Cancelled);
            let progress = self.job.progress(&self.node.registry);
            self.node.publisher.announce(Event::Drain(Arc::new(progress)));
        }
    }
}

/// The drain that runs, or the last one.
#[derive(Default)]
pub(crate) struct Jobs {
    current: Mutex<Option<Arc<Job>>>,
}

impl Jobs {
    /// Begins a drain, unless one is under way.
    pub(crate) fn begin(&self, options: DrainOptions) -> Result<Arc<Job>, DrainUnderWay> {
        let mut current = self.lock();
        if let Some(job) = current.as_ref().filter(|job| job.phase() == DrainPhase::Running) {
            return Err(DrainUnderWay { id: Arc::clone(&job.id) });
        }
        Ok(Arc::clone(current.insert(Arc::new(Job::new(options)))))
    }

    /// Begins a drain in place of the one that is under way.
    pub(crate) fn take_over(&self, options: DrainOptions) -> Arc<Job> {
        let job = Arc::new(Job::new(options));
        if let Some(before) = self.lock().replace(Arc::clone(&job)) {
            before.cancel.send_replace(true);
        }
        job
    }

    /// Takes note that a drain is over, and accepts new connections again unless it was asked to
    /// stay, or another has taken over: that one decides then.
    pub(crate) fn end(&self, node: &Node, job: &Job, phase: DrainPhase) {
        let current = self.lock();
        job.end(phase);
        let is_current = current.as_ref().is_some_and(|current| std::ptr::eq(&**current, job));
        let stays = job.options.stay && job.phase() == DrainPhase::Finished;
        if is_current && job.options.select.is_all() && !stays {
            node.accept_after_drain();
        }
    }

    /// Calls off the drain that runs, or takes back what the last one left: that new connections
    /// are refused. Returns `None` if there is nothing of the kind.
    ///
    /// What a signal began is not called off: the daemon is about to stop.
    pub(crate) fn cancel(&self, node: &Node) -> Option<DrainProgress> {
        let job = self.lock().clone()?;
        if matches!(job.options.by, Some(Requester::Signal(_))) {
            return None;
        }
        let running = job.phase() == DrainPhase::Running;
        let refuses =
            job.options.select.is_all() && node.not_accepting() == Some(NotAccepting::Drain);
        if !running && !refuses {
            return None;
        }
        // Before its task hears of it, so that who asked sees it in the answer.
        job.end(DrainPhase::Cancelled);
        job.cancel.send_replace(true);
        if refuses {
            node.accept_after_drain();
        }
        Some(job.progress(&node.registry))
    }

    pub(crate) fn progress(&self, registry: &Registry) -> Option<DrainProgress> {
        let job = self.lock().clone()?;
        Some(job.progress(registry))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Job>>> {
        self.current.lock()
    }
}
