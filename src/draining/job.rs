//! The state of a drain while it runs and afterwards.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::options::{DrainOptions, DrainReport, DrainUnderWay};
use crate::connection::Connection;
use crate::node::registry::Registry;
use crate::node::{Node, NotAccepting};
use crate::runtime::now;
use crate::vocabulary::{
    ConnectionId, DrainPhase, DrainProgress, Event, IdSet, Requester, Stragglers,
};

/// A drain: its options and its progress.
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
    /// The connections that had not ended when last checked.
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

    /// Returns the requester that endings name: the signal, or the drain.
    pub(crate) fn requester(&self) -> Requester {
        match &self.options.by {
            Some(by @ (Requester::Signal(_) | Requester::Drain(_))) => by.clone(),
            Some(Requester::Api(_)) | None => Requester::Drain(Arc::clone(&self.id)),
        }
    }

    pub(crate) fn found(&self, open: &[Arc<Connection>]) {
        let mut tally = self.tally.lock();
        tally.total = open.len();
        tally.left.extend(open.iter().map(|connection| connection.id));
    }

    /// Counts a connection as asked to close; returns `false` if it was counted before.
    pub(crate) fn note_asked(&self, id: ConnectionId) -> bool {
        let mut tally = self.tally.lock();
        if !tally.asked.insert(id) {
            return false;
        }
        if tally.left.insert(id) {
            tally.total += 1;
        }
        true
    }

    /// Counts a connection as aborted; returns `false` if it was counted before.
    pub(crate) fn cut(&self, id: ConnectionId) -> bool {
        self.tally.lock().cut.insert(id)
    }

    /// Returns the connections that have not ended.
    pub(crate) fn left(&self, registry: &Registry) -> Vec<Arc<Connection>> {
        self.tally.lock().look(registry)
    }

    pub(crate) fn phase(&self) -> DrainPhase {
        self.tally.lock().phase
    }

    /// Sets the final phase; only the first call has an effect.
    fn end(&self, phase: DrainPhase) {
        let mut tally = self.tally.lock();
        if tally.phase == DrainPhase::Running {
            tally.phase = phase;
            tally.ended = Some(now());
        }
    }

    pub(crate) fn report(&self) -> DrainReport {
        let tally = self.tally.lock();
        let took = tally.ended.unwrap_or_else(now).saturating_duration_since(self.started);
        DrainReport { asked: tally.asked.len(), cut: tally.cut.len(), took }
    }

    /// Returns the progress.
    pub(crate) fn progress(&self, node: &Node) -> DrainProgress {
        let report = self.report();
        let mut left = Stragglers::default();
        let mut tally = self.tally.lock();
        tally.look(&node.registry).iter().for_each(|connection| left.count(connection.state()));
        let waits = tally.phase == DrainPhase::Running && self.options.select.is_all();
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
            http_left: if waits { node.plain.present() } else { 0 },
        }
    }

    /// Waits until the drain is cancelled. Cancel safe.
    pub(crate) async fn cancelled(&self) {
        // `self` holds the sender, so this cannot fail.
        let _ = self.cancel.subscribe().wait_for(|cancelled| *cancelled).await;
    }
}

impl Tally {
    /// Returns the connections that have not ended, and forgets the others.
    fn look(&mut self, registry: &Registry) -> Vec<Arc<Connection>> {
        let left: Vec<_> = self.left.iter().filter_map(|id| registry.get(*id)).collect();
        self.left = left.iter().map(|connection| connection.id).collect();
        left
    }
}

/// Marks a drain as cancelled when its future is dropped before it has finished.
pub(crate) struct CancelledIfDropped<'a> {
    pub(crate) node: &'a Node,
    pub(crate) jobs: &'a Jobs,
    pub(crate) job: &'a Job,
}

impl Drop for CancelledIfDropped<'_> {
    fn drop(&mut self) {
        if self.job.phase() == DrainPhase::Running {
            self.jobs.end(self.node, self.job, DrainPhase::Cancelled);
            let progress = self.job.progress(self.node);
            self.node.publisher.announce(Event::Drain(Arc::new(progress)));
        }
    }
}

/// The drain that is running, or the last one.
#[derive(Default)]
pub(crate) struct Jobs {
    current: Mutex<Option<Arc<Job>>>,
}

impl Jobs {
    /// Begins a drain unless one is under way.
    pub(crate) fn begin(&self, options: DrainOptions) -> Result<Arc<Job>, DrainUnderWay> {
        let mut current = self.current.lock();
        if let Some(job) = current.as_ref().filter(|job| job.phase() == DrainPhase::Running) {
            return Err(DrainUnderWay { id: Arc::clone(&job.id) });
        }
        Ok(Arc::clone(current.insert(Arc::new(Job::new(options)))))
    }

    /// Begins a drain in place of the one that is under way.
    pub(crate) fn take_over(&self, options: DrainOptions) -> Arc<Job> {
        let job = Arc::new(Job::new(options));
        if let Some(before) = self.current.lock().replace(Arc::clone(&job)) {
            before.cancel.send_replace(true);
        }
        job
    }

    /// Ends a drain. New connections are accepted again, unless the drain was asked to stay or
    /// another drain has replaced it.
    pub(crate) fn end(&self, node: &Node, job: &Job, phase: DrainPhase) {
        let current = self.current.lock();
        job.end(phase);
        let is_current = current.as_ref().is_some_and(|current| std::ptr::eq(&**current, job));
        let stays = job.options.stay && job.phase() == DrainPhase::Finished;
        if is_current && job.options.select.is_all() && !stays {
            node.accept_after_drain();
        }
    }

    /// Cancels the running drain, or accepts new connections again after one that stayed. Returns
    /// `None` if there is neither.
    ///
    /// A drain that a signal began cannot be cancelled: the daemon is about to stop.
    pub(crate) fn cancel(&self, node: &Node) -> Option<DrainProgress> {
        let job = self.current.lock().clone()?;
        if matches!(job.options.by, Some(Requester::Signal(_))) {
            return None;
        }
        let running = job.phase() == DrainPhase::Running;
        let refuses =
            job.options.select.is_all() && node.not_accepting() == Some(NotAccepting::Drain);
        if !running && !refuses {
            return None;
        }
        // Before the task is notified, so that the progress returned here shows it.
        job.end(DrainPhase::Cancelled);
        job.cancel.send_replace(true);
        if refuses {
            node.accept_after_drain();
        }
        Some(job.progress(node))
    }

    pub(crate) fn progress(&self, node: &Node) -> Option<DrainProgress> {
        let job = self.current.lock().clone()?;
        Some(job.progress(node))
    }
}
