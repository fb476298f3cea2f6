//! What all connections of a node share.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ractor::ActorRef;
use tokio::sync::{Notify, oneshot, watch};

use super::attempt::{Attempt, Recorder, Unclaimed};
use super::drain::Jobs;
use super::handle::ConnectionHandle;
use super::plain::PlainClients;
use super::publication::Publisher;
use super::registry::Registry;
use super::supervisor::{Adoption, Pair, SupervisorMessage};
use crate::policy::admission::{Admission, AdmissionLimits, NotAdmitted};
use crate::vocabulary::{CloseCode, CloseFrame, Ending, Limit, OpenFailure};

/// What all connections of a node share.
pub(super) struct Node {
    pub(super) name: Arc<str>,
    pub(super) registry: Arc<Registry>,
    pub(super) publisher: Arc<Publisher>,
    pub(super) admission: Arc<Mutex<Admission>>,
    pub(super) supervisor: ActorRef<SupervisorMessage>,
    pub(super) drains: Jobs,
    recorder: Arc<Recorder>,
    /// Clients whose requests are passed on as plain HTTP.
    pub(super) plain: Arc<PlainClients>,
    /// Why new connections are refused, here and by dialers, if they are.
    closed: watch::Sender<Option<NotAccepting>>,
    /// Told whenever the last place is free again.
    left: Arc<Notify>,
    /// It was shut down, or is about to be: nothing new begins.
    shut: AtomicBool,
}

/// The limit that a ledger is which cannot store.
pub(super) const NO_LEDGER: Limit = Limit { name: "ledger.on_failure", limit: 0, observed: 1 };

/// The supervisor is gone: it was shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the supervisor was shut down")]
pub struct ShutDown;

/// Why new connections are refused; a later one outranks an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum NotAccepting {
    /// The ledger cannot store endings, and `ledger.on_failure` is `refuse`.
    Ledger,
    /// A drain of all connections runs, or has finished and was asked to stay.
    Drain,
    /// The embedder called `refuse_new`.
    Asked,
    /// The supervisor is shutting down.
    Stopping,
}

impl Node {
    pub(super) fn new(
        name: Arc<str>,
        registry: Arc<Registry>,
        publisher: Arc<Publisher>,
        limits: AdmissionLimits,
        supervisor: ActorRef<SupervisorMessage>,
    ) -> Self {
        let admission = Arc::new(Mutex::new(Admission::new(limits, super::now())));
        let closed = watch::Sender::new(None);
        let left = Arc::default();
        let drains = Jobs::default();
        let (node, recording) = (Arc::clone(&name), Arc::clone(&publisher));
        let recorder = Arc::new(Recorder { node, publisher: recording });
        let shut = AtomicBool::new(false);
        let plain = Arc::new(PlainClients::new(limits, Arc::clone(&left)));
        Self {
            name,
            registry,
            publisher,
            admission,
            supervisor,
            drains,
            recorder,
            plain,
            closed,
            left,
            shut,
        }
    }

    /// Hands a connection to the supervisor.
    pub(super) async fn adopt(&self, adoption: Adoption) -> Result<ConnectionHandle, ShutDown> {
        let (adopted, handle) = oneshot::channel();
        let unclaimed = Unclaimed::new(&self.recorder, &adoption.origin);
        let message = SupervisorMessage::Adopt(Box::new(adoption), unclaimed, adopted);
        self.supervisor.cast(message).map_err(|_| ShutDown)?;
        handle.await.map_err(|_| ShutDown)
    }

    /// Hands both legs of a relay to the supervisor.
    pub(super) fn adopt_pair(&self, pair: Pair) -> Result<(), ShutDown> {
        let unclaimed = Unclaimed::new(&self.recorder, &pair.client.origin);
        let message = SupervisorMessage::AdoptPair(Box::new(pair), unclaimed);
        self.supervisor.cast(message).map_err(|_| ShutDown)
    }

    /// Hands the connection to an application whose other end did not open to the supervisor, which
    /// closes it at once. After a shutdown, which leaves nothing to close it, it is dropped.
    pub(super) fn dismiss(&self, application: Adoption, reason: &str) {
        let unclaimed = Unclaimed::new(&self.recorder, &application.origin);
        let close = CloseFrame::coded(CloseCode::GOING_AWAY, reason);
        let message = SupervisorMessage::Dismiss(Box::new(application), unclaimed, close);
        let _ = self.supervisor.cast(message);
    }

    pub(super) fn shut(&self) {
        self.shut.store(true, Ordering::Release);
    }

    pub(super) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Acquire)
    }

    /// Refuses new connections from now on. A reason that is final is not replaced.
    pub(super) fn refuse_new(&self, why: NotAccepting) {
        self.closed.send_modify(|closed| *closed = (*closed).max(Some(why)));
        if matches!(why, NotAccepting::Drain | NotAccepting::Stopping) {
            self.plain.end();
        }
    }

    /// Accepts new connections again after a drain; other reasons to refuse them stay.
    pub(super) fn accept_after_drain(&self) {
        self.closed.send_modify(|closed| {
            *closed = closed.filter(|why| *why != NotAccepting::Drain);
        });
        if !self.is_draining() {
            self.plain.reopen();
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.closed.borrow().is_some()
    }

    /// Returns why new connections are refused, if they are.
    pub(super) fn not_accepting(&self) -> Option<NotAccepting> {
        let closed = *self.closed.borrow();
        let ledger = self.publisher.ledger().refuses_new();
        closed.or(ledger.then_some(NotAccepting::Ledger))
    }

    /// Returns a way to hear when [`Node::is_draining`] changes.
    pub(super) fn draining(&self) -> watch::Receiver<Option<NotAccepting>> {
        self.closed.subscribe()
    }

    /// Takes a place for one more; it is free again when it is dropped.
    pub(super) fn admit(&self, ip: Option<IpAddr>) -> Result<Place, NotAdmitted> {
        if self.publisher.ledger().refuses_new() {
            // What could not be recorded is not to begin: `ledger.on_failure = "refuse"`.
            return Err(NotAdmitted { failure: OpenFailure::RefusedLimit, limit: NO_LEDGER });
        }
        lock(&self.admission).admit(super::now(), ip)?;
        Ok(self.place(ip))
    }

    /// Takes a place for the connection to an application that a client needs.
    pub(super) fn admit_leg(&self) -> Result<Place, NotAdmitted> {
        lock(&self.admission).accompany()?;
        Ok(self.place(None))
    }

    /// Takes a place for a connection that this end dialled: it counts, and is not refused.
    pub(super) fn place_of_dialled(&self) -> Place {
        lock(&self.admission).count_in();
        self.place(None)
    }

    fn place(&self, ip: Option<IpAddr>) -> Place {
        Place { admission: Arc::clone(&self.admission), left: Arc::clone(&self.left), ip }
    }

    /// Takes note of a socket that was accepted and has no place yet.
    pub(super) fn arrive(&self, ip: Option<IpAddr>) -> Result<Arrived, NotAdmitted> {
        lock(&self.admission).arrive(ip)?;
        Ok(Arrived { admission: Arc::clone(&self.admission), ip, is_overdue: false })
    }

    pub(super) fn present(&self) -> u64 {
        lock(&self.admission).present()
    }

    /// Waits until no connection is open, no attempt that was admitted may yet become one, and no
    /// plain HTTP is under way. Cancel safe.
    pub(super) async fn nobody_left(&self) {
        loop {
            let left = self.left.notified();
            self.publisher.none_open().await;
            if self.present() == 0 && self.plain.present() == 0 {
                return;
            }
            left.await;
        }
    }

    /// Records an attempt that failed.
    pub(super) fn record_attempt(&self, attempt: Attempt) {
        self.recorder.record(attempt);
    }

    /// Records an attempt that failed, and returns its record once it is durable or cannot be.
    pub(super) async fn record_attempt_durably(&self, attempt: Attempt) -> Arc<Ending> {
        self.recorder.record_durably(attempt).await
    }
}

/// A place among those that `max_connections` allows.
pub(crate) struct Place {
    admission: Arc<Mutex<Admission>>,
    left: Arc<Notify>,
    ip: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut admission = lock(&self.admission);
        admission.leave(self.ip);
        if admission.present() == 0 {
            self.left.notify_waiters();
        }
    }
}

/// A socket that was accepted and has no place yet: dropped once it has one, or is gone.
pub(super) struct Arrived {
    admission: Arc<Mutex<Admission>>,
    ip: Option<IpAddr>,
    is_overdue: bool,
}

impl Arrived {
    /// Takes note that its request is overdue.
    pub(super) fn overdue(&mut self) -> Result<(), NotAdmitted> {
        let Some(ip) = self.ip.filter(|_| !self.is_overdue) else { return Ok(()) };
        lock(&self.admission).overdue(ip)?;
        self.is_overdue = true;
        Ok(())
    }
}

impl Drop for Arrived {
    fn drop(&mut self) {
        let mut admission = lock(&self.admission);
        if let Some(ip) = self.ip.filter(|_| self.is_overdue) {
            admission.heard(ip);
        }
        admission.settle(self.ip);
    }
}

fn lock(admission: &Mutex<Admission>) -> std::sync::MutexGuard<'_, Admission> {
    admission.lock().unwrap_or_else(PoisonError::into_inner)
}
