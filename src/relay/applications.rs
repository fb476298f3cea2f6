//! The applications behind a relay: which of them gets a client, and what was seen of each.

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::node::lease::Lease;
use crate::policy::balance::{
    Change, Choice, Ejection, InstanceView, NoApplication, NoInstance, Observation, Pool,
};
use crate::policy::log_throttle::LogThrottle;
use crate::policy::masking::{self, Masking};
use crate::runtime::now;
use crate::settings::{Records, RelayBackend, UpstreamUrl};
use crate::transport::connect::FailedConnect;
use crate::transport::dial::InvalidUrl;
use crate::transport::http_proxy::{AppConnection, ConnectionPool};
use crate::transport::tls::Trust;
use crate::transport::upstream::{Connected, Upstream, UpstreamOptions};
use crate::vocabulary::{Limit, OpenFailure, Outcome, Upstream as RecordedUpstream};

/// How often one that answers no plain requests is complained of.
const COMPLAIN_AGAIN: Duration = Duration::from_secs(10);

/// The applications behind a relay, which all do the same.
#[derive(Debug)]
pub(super) struct Applications {
    all: Vec<Application>,
    settings: Arc<RelayBackend>,
    /// The source address whose turn it is.
    turn: AtomicUsize,
    pool: Mutex<Pool>,
    /// Told of every change of the pool, and of the end.
    changed: Arc<Notify>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Application {
    /// Which of them, from 0.
    number: usize,
    /// As it was configured.
    pub(super) url: String,
    pub(super) upstream: Upstream,
    /// The opening handshakes and requests that it has not answered.
    pending: Semaphore,
    /// The connections that are kept for plain requests.
    pub(super) pool: Arc<ConnectionPool>,
    /// Limits the log message about unanswered plain requests.
    complaints: Mutex<LogThrottle>,
}

/// A client's share of an application: until it is dropped, it counts as a connection there.
#[derive(Debug)]
pub(crate) struct ApplicationLease {
    applications: Arc<Applications>,
    /// There until it is dropped.
    choice: Option<Choice>,
}

/// An application that was connected to.
pub(super) struct Reached<'a> {
    pub(super) application: &'a Application,
    pub(super) connected: Connected,
    pub(super) lease: ApplicationLease,
    /// Held until it has answered.
    pub(super) _pending: SemaphorePermit<'a>,
}

/// An application that was connected to for plain requests.
pub(super) struct ReachedPlain<'a> {
    pub(super) application: &'a Application,
    pub(super) connection: AppConnection,
    pub(super) lease: ApplicationLease,
}

/// Why none was.
#[derive(Debug)]
pub(super) enum NotReached<'a> {
    /// All of them drain.
    Draining,
    /// Each that there is has too much to do already.
    TooMany(Limit),
    /// The last that was tried could not be reached.
    Failed(&'a Application, FailedConnect),
}

impl Applications {
    pub(super) fn new(settings: Arc<RelayBackend>) -> Result<Self, InvalidUrl> {
        let application = |(number, url): (usize, &UpstreamUrl)| {
            let trust = settings.ca_file.as_ref().map_or(Trust::Platform, Trust::file);
            Ok(Application {
                number,
                url: url.as_str().to_owned(),
                upstream: Upstream::new(url.as_str(), trust)?,
                pending: Semaphore::new(settings.max_pending as usize),
                pool: Arc::default(),
                complaints: Mutex::new(LogThrottle::new(COMPLAIN_AGAIN)),
            })
        };
        let all =
            settings.urls.iter().enumerate().map(application).collect::<Result<Vec<_>, _>>()?;
        let len = NonZeroUsize::new(all.len())
            .ok_or(InvalidUrl::Malformed("there is none: name an application"))?;
        let ejection = NonZeroU32::new(settings.eject_after)
            .map(|after| Ejection { after, lasting: settings.eject_for });
        let pool = Mutex::new(Pool::new(len, settings.balance, ejection));
        Ok(Self { all, settings, turn: AtomicUsize::new(0), pool, changed: Arc::default() })
    }

    pub(super) fn all(&self) -> &[Application] {
        &self.all
    }

    pub(super) fn settings(&self) -> &RelayBackend {
        &self.settings
    }

    pub(super) fn view(&self) -> Vec<InstanceView> {
        self.pool().view(now())
    }

    /// Connects to one of them for a client: where one cannot be reached, to another.
    ///
    /// # Cancel safety
    /// Dropped, the attempt is dropped with it.
    pub(super) async fn reach(
        self: &Arc<Self>,
        client: Option<IpAddr>,
    ) -> Result<Reached<'_>, NotReached<'_>> {
        self.reach_from(client, None).await
    }

    /// Finds a connection to one of them for a plain request of a client: one that is kept if `kept`,
    /// else a new one.
    ///
    /// # Cancel safety
    /// As [`Applications::reach`].
    pub(super) async fn reach_plain(
        self: &Arc<Self>,
        client: Option<IpAddr>,
        kept: bool,
    ) -> Result<ReachedPlain<'_>, NotReached<'_>> {
        let mut chosen = None;
        if kept && let Ok((application, lease)) = self.choose(client, &[]) {
            if let Some(connection) = application.pool.take() {
                return Ok(ReachedPlain { application, connection, lease });
            }
            chosen = Some((application, lease));
        }
        let Reached { application, connected, lease, .. } = self.reach_from(client, chosen).await?;
        match AppConnection::new(connected.transport).await {
            Ok(connection) => Ok(ReachedPlain { application, connection, lease }),
            Err(error) => {
                let failure = OpenFailure::PeerGone;
                let failed = FailedConnect::before_tcp(failure, error.to_string());
                Err(NotReached::Failed(application, failed))
            }
        }
    }

    /// Connects to the one that was chosen, if one was, else as [`Applications::reach`].
    async fn reach_from<'a>(
        self: &'a Arc<Self>,
        client: Option<IpAddr>,
        mut chosen: Option<(&'a Application, ApplicationLease)>,
    ) -> Result<Reached<'a>, NotReached<'a>> {
        let (mut tried, mut failed) = (Vec::new(), None);
        let mut tries = self.settings.tries;
        loop {
            let choice = chosen.take().map_or_else(|| self.choose(client, &tried), Ok);
            let (application, lease) = match choice {
                Ok(chosen) => chosen,
                Err(NoApplication::AllDraining) => return Err(NotReached::Draining),
                // Each was tried: from the beginning, if one of them may yet be reached.
                Err(NoApplication::Exhausted) if failed.is_some() => {
                    tried.clear();
                    continue;
                }
                Err(NoApplication::Exhausted) => {
                    return Err(NotReached::TooMany(self.pending_limit()));
                }
            };
            tried.extend(lease.instance());
            let Ok(pending) = application.pending.try_acquire() else {
                if failed.is_some() {
                    return Err(NotReached::TooMany(self.pending_limit()));
                }
                continue;
            };
            tries = tries.saturating_sub(1);
            match application.upstream.connect(self.options()).await {
                Ok(connected) => {
                    return Ok(Reached { application, connected, lease, _pending: pending });
                }
                Err(why) => {
                    // Authorities that cannot be read are this end's fault: nothing was dialled.
                    let ours = why.failure == OpenFailure::Tls && why.transport_end.is_none();
                    if let Some(observation) = Observation::of_dial(why.failure).filter(|_| !ours) {
                        lease.saw(observation);
                    }
                    if tries == 0 {
                        return Err(NotReached::Failed(application, why));
                    }
                    failed = Some(why);
                }
            }
        }
    }

    /// Returns how to connect this time.
    pub(super) fn options(&self) -> UpstreamOptions {
        let sources = &self.settings.source_addresses;
        let source = match sources.len() {
            0 => None,
            len => sources.get(self.turn.fetch_add(1, Ordering::Relaxed) % len).copied(),
        };
        UpstreamOptions {
            connect_timeout: self.settings.connect_timeout,
            tls_timeout: self.settings.response_timeout,
            source,
        }
    }

    /// Changes the pool, and tells what that has changed.
    pub(super) fn change<C: IntoIterator<Item = Change>>(&self, with: impl FnOnce(&mut Pool) -> C) {
        let changes = with(&mut self.pool());
        changes.into_iter().for_each(|change| self.report_change(&change));
    }

    /// Likewise, where there may be no such application; tells whether anything has changed.
    pub(super) fn try_change(
        &self,
        with: impl FnOnce(&mut Pool) -> Result<Option<Change>, NoInstance>,
    ) -> Result<bool, NoInstance> {
        let change = with(&mut self.pool())?;
        change.iter().for_each(|change| self.report_change(change));
        Ok(change.is_some())
    }

    /// Returns the bell that rings when the pool has changed, or is gone.
    pub(super) fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// Returns when the pool next changes by itself.
    pub(super) fn poll_deadline(&self) -> Option<Instant> {
        self.pool().poll_deadline()
    }

    fn choose(
        self: &Arc<Self>,
        client: Option<IpAddr>,
        tried: &[usize],
    ) -> Result<(&Application, ApplicationLease), NoApplication> {
        let choice = self.pool().choose(now(), client, tried)?;
        let application = self.all.get(choice.instance());
        let lease = ApplicationLease { applications: Arc::clone(self), choice: Some(choice) };
        // The pool has as many as there are here.
        application.map(|application| (application, lease)).ok_or(NoApplication::Exhausted)
    }

    fn pending_limit(&self) -> Limit {
        let limit = u64::from(self.settings.max_pending);
        Limit { name: "max_pending", limit, observed: limit }
    }

    fn report_change(&self, change: &Change) {
        self.changed.notify_one();
        let Some(application) = self.all.get(change.instance()) else { return };
        let url = application.shown_url();
        match change {
            Change::Ejected { observation, failures, .. } => tracing::warn!(
                upstream = %url, %observation, failures,
                "the application fails: it gets no new clients for a while"
            ),
            Change::Spared { observation, failures, .. } => tracing::warn!(
                upstream = %url, %observation, failures,
                "the application fails, and too many others do: it gets clients all the same"
            ),
            Change::Unhealthy { .. } => {
                tracing::warn!(upstream = %url, "the application says that it is not well");
            }
            Change::Returned { .. }
            | Change::Healthy { .. }
            | Change::Draining { .. }
            | Change::Resumed { .. } => {
                tracing::info!(upstream = %url, state = change.as_str(), "the application");
            }
        }
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock()
    }
}

impl Drop for Applications {
    fn drop(&mut self) {
        self.changed.notify_one();
    }
}

impl Application {
    /// Returns what is recorded of it before it is dialled.
    pub(super) fn record(&self, records: &Records) -> RecordedUpstream {
        let url = records.recorded_url(&self.url);
        let number = Some(self.number);
        RecordedUpstream { url, number, addr: None, connect: None, status: None }
    }

    /// Says that a plain request was not answered, now and then: there may be thousands.
    pub(super) fn complain(&self, why: &str) {
        let mut complaints = self.complaints.lock();
        if let Some(suppressed) = complaints.check(now()) {
            tracing::warn!(
                upstream = %self.shown_url(), why, suppressed,
                "plain HTTP: the application did not answer"
            );
        }
    }

    /// Returns its URL without what may be secret in it.
    pub(super) fn shown_url(&self) -> String {
        masking::record_url(&self.url, Masking::Mask, &[])
    }
}

impl ApplicationLease {
    /// Takes note of what was seen of the application.
    pub(super) fn saw(&self, observation: Observation) {
        if let Some(choice) = &self.choice {
            self.applications.change(|pool| pool.report(choice, now(), observation));
        }
    }

    /// Returns the application.
    pub(super) fn application(&self) -> Option<&Application> {
        self.applications.all.get(self.instance()?)
    }

    fn instance(&self) -> Option<usize> {
        self.choice.as_ref().map(Choice::instance)
    }
}

impl Lease for ApplicationLease {
    fn drains(&self) -> bool {
        let pool = self.applications.pool();
        self.choice.as_ref().is_some_and(|choice| pool.is_draining(choice))
    }

    fn ended(self: Box<Self>, outcome: &Outcome) {
        if let Some(observation) = Observation::of_ending(outcome) {
            self.saw(observation);
        }
    }
}

impl Drop for ApplicationLease {
    fn drop(&mut self) {
        if let Some(choice) = self.choice.take() {
            self.applications.pool().release(choice);
        }
    }
}
