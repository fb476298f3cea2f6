//! What all connections of a node share.

pub(crate) mod adoption;
pub(crate) mod attempt;
pub(crate) mod broadcast;
pub(crate) mod commits;
mod counts;
pub(crate) mod endings;
pub(crate) mod lease;
pub(crate) mod observing;
pub(crate) mod plain;
pub(crate) mod registry;
pub(crate) mod relief;
pub(crate) mod revoking;
pub(crate) mod slots;
pub(crate) mod subjects;
pub(crate) mod supervisor;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use ractor::ActorRef;
use tokio::sync::{Notify, oneshot, watch};

use crate::connection::handle::ConnectionHandle;
use crate::policy::admission::{Admission, AdmissionLimits, NotAdmitted};
use crate::settings::Records;
use crate::vocabulary::{CloseCode, CloseFrame, Ending, Limit, OpenFailure};
use adoption::{Adoption, Pair, SupervisorMessage};
use attempt::{Attempt, Recorder, Unclaimed};
use commits::Publisher;
use plain::PlainClients;
use registry::Registry;
use revoking::RevocationList;
use slots::{ConnectionSlot, PendingSocket};

/// How often to check whether plain HTTP is still answered.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What all connections of a node share.
pub(crate) struct Node {
    pub(crate) name: Arc<str>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) revocations: Arc<RevocationList>,
    pub(crate) admission: Arc<Mutex<Admission>>,
    settings: RwLock<Arc<NodeSettings>>,
    pub(crate) supervisor: ActorRef<SupervisorMessage>,
    recorder: Arc<Recorder>,
    /// Clients whose requests are passed on as plain HTTP.
    pub(crate) plain: Arc<PlainClients>,
    /// Why new connections are refused, here and by dialers, if they are.
    closed: watch::Sender<Option<NotAccepting>>,
    /// Notified whenever the last slot is free again.
    left: Arc<Notify>,
    /// It was shut down, or is about to be: nothing new begins.
    shut: AtomicBool,
}

/// The settings of a node that may change while it runs.
#[derive(Debug, Clone)]
pub(crate) struct NodeSettings {
    pub(crate) limits: AdmissionLimits,
    /// The time limit of opening handshakes.
    pub(crate) handshake_timeout: Duration,
    /// What of a request is recorded where nothing else is said.
    pub(crate) records: Records,
}

/// The limit that a ledger is which cannot store.
pub(crate) const NO_LEDGER: Limit = Limit { name: "ledger.on_failure", limit: 0, observed: 1 };

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
    pub(crate) fn new(
        name: Arc<str>,
        registry: Arc<Registry>,
        publisher: Arc<Publisher>,
        revocations: Arc<RevocationList>,
        settings: NodeSettings,
        supervisor: ActorRef<SupervisorMessage>,
    ) -> Self {
        let limits = settings.limits;
        let admission = Arc::new(Mutex::new(Admission::new(limits, crate::runtime::now())));
        let closed = watch::Sender::new(None);
        let left = Arc::default();
        let (node, recording) = (Arc::clone(&name), Arc::clone(&publisher));
        let recorder = Arc::new(Recorder { node, publisher: recording });
        let shut = AtomicBool::new(false);
        let plain = Arc::new(PlainClients::new(limits, Arc::clone(&left)));
        Self {
            name,
            registry,
            publisher,
            revocations,
            admission,
            settings: RwLock::new(Arc::new(settings)),
            supervisor,
            recorder,
            plain,
            closed,
            left,
            shut,
        }
    }

    /// Returns the settings that hold now.
    pub(crate) fn settings(&self) -> Arc<NodeSettings> {
        Arc::clone(&self.settings.read())
    }

    /// Changes the settings for what begins from now on.
    pub(crate) fn change_settings(&self, change: impl FnOnce(&mut NodeSettings)) {
        let mut settings = self.settings.write();
        let mut changed = (**settings).clone();
        change(&mut changed);
        if changed.limits != settings.limits {
            self.admission.lock().set_limits(changed.limits, crate::runtime::now());
            self.plain.set_limits(changed.limits);
        }
        *settings = Arc::new(changed);
    }

    /// Hands a connection to the supervisor.
    pub(crate) async fn adopt(&self, adoption: Adoption) -> Result<ConnectionHandle, ShutDown> {
        let (adopted, handle) = oneshot::channel();
        let unclaimed = Unclaimed::new(&self.recorder, &adoption.origin);
        let message = SupervisorMessage::Adopt(Box::new(adoption), unclaimed, adopted);
        self.supervisor.cast(message).map_err(|_| ShutDown)?;
        handle.await.map_err(|_| ShutDown)
    }

    /// Hands both legs of a relay to the supervisor.
    pub(crate) fn adopt_pair(&self, pair: Pair) -> Result<(), ShutDown> {
        let unclaimed = Unclaimed::new(&self.recorder, &pair.client.origin);
        let message = SupervisorMessage::AdoptPair(Box::new(pair), unclaimed);
        self.supervisor.cast(message).map_err(|_| ShutDown)
    }

    /// Hands the connection to an application whose other end did not open to the supervisor, which
    /// closes it at once. After a shutdown, which leaves nothing to close it, it is dropped.
    pub(crate) fn dismiss(&self, application: Adoption, reason: &str) {
        let unclaimed = Unclaimed::new(&self.recorder, &application.origin);
        let close = CloseFrame::coded(CloseCode::GOING_AWAY, reason);
        let message = SupervisorMessage::Dismiss(Box::new(application), unclaimed, close);
        let _ = self.supervisor.cast(message);
    }

    pub(crate) fn shut(&self) {
        self.shut.store(true, Ordering::Release);
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Acquire)
    }

    /// Refuses new connections from now on. A reason that is final is not replaced.
    pub(crate) fn refuse_new(&self, why: NotAccepting) {
        self.closed.send_modify(|closed| *closed = (*closed).max(Some(why)));
        if matches!(why, NotAccepting::Drain | NotAccepting::Stopping) {
            self.plain.end();
        }
    }

    /// Accepts new connections again after a drain; other reasons to refuse them stay.
    pub(crate) fn accept_after_drain(&self) {
        self.closed.send_modify(|closed| {
            *closed = closed.filter(|why| *why != NotAccepting::Drain);
        });
        if !self.is_draining() {
            self.plain.reopen();
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.closed.borrow().is_some()
    }

    /// Returns why new connections are refused, if they are.
    pub(crate) fn not_accepting(&self) -> Option<NotAccepting> {
        let closed = *self.closed.borrow();
        let ledger = self.publisher.ledger().refuses_new();
        closed.or(ledger.then_some(NotAccepting::Ledger))
    }

    /// Returns a way to hear when [`Node::is_draining`] changes.
    pub(crate) fn draining(&self) -> watch::Receiver<Option<NotAccepting>> {
        self.closed.subscribe()
    }

    /// Takes a slot for one more connection; dropping it frees it.
    pub(crate) fn admit(&self, ip: Option<IpAddr>) -> Result<ConnectionSlot, NotAdmitted> {
        if self.publisher.ledger().refuses_new() {
            // What could not be recorded is not to begin: `ledger.on_failure = "refuse"`.
            return Err(NotAdmitted { failure: OpenFailure::RefusedLimit, limit: NO_LEDGER });
        }
        self.admission.lock().admit(crate::runtime::now(), ip)?;
        Ok(self.place(ip))
    }

    /// Takes a slot for the connection to an application that a client needs.
    pub(crate) fn admit_leg(&self) -> Result<ConnectionSlot, NotAdmitted> {
        self.admission.lock().admit_upstream()?;
        Ok(self.place(None))
    }

    /// Takes a slot for a connection that this end dialled; it counts, and is never refused.
    pub(crate) fn slot_for_dialled(&self) -> ConnectionSlot {
        self.admission.lock().count_dialled();
        self.place(None)
    }

    fn place(&self, ip: Option<IpAddr>) -> ConnectionSlot {
        let (admission, left) = (Arc::clone(&self.admission), Arc::clone(&self.left));
        ConnectionSlot { admission, left, ip, route: None }
    }

    /// Counts a socket that was accepted and has no slot yet.
    pub(crate) fn arrive(&self, ip: Option<IpAddr>) -> Result<PendingSocket, NotAdmitted> {
        self.admission.lock().begin_handshake(ip)?;
        Ok(PendingSocket { admission: Arc::clone(&self.admission), ip, is_overdue: false })
    }

    pub(crate) fn present(&self) -> u64 {
        self.admission.lock().connections()
    }

    /// Waits until no connection is open, no attempt that was admitted may yet become one, and no
    /// plain HTTP is under way. Cancel safe.
    pub(crate) async fn none_left(&self) {
        loop {
            let left = self.left.notified();
            self.publisher.none_open().await;
            if self.present() == 0 && self.plain.present() == 0 {
                return;
            }
            left.await;
        }
    }

    /// Waits until no connection is open and no plain HTTP is answered. Cancel safe.
    pub(crate) async fn none_served(&self) {
        self.publisher.none_open().await;
        while self.plain.any_served() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Records an attempt that failed.
    pub(crate) fn record_attempt(&self, attempt: Attempt) {
        self.recorder.record(attempt);
    }

    /// Records an attempt that failed, and returns its record once it is durable or cannot be.
    pub(crate) async fn record_attempt_durably(&self, attempt: Attempt) -> Arc<Ending> {
        self.recorder.record_durably(attempt).await
    }
}
