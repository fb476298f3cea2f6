//! The applications behind a relay: which of them gets a client, and how healthy each is.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use siphasher::sip::SipHasher13;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::node::lease::Lease;
use crate::policy::balance::{
    Change, Choice, Ejection, InstanceView, NoApplication, NoInstance, Observation, Pool,
    Succession,
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

/// How often to log that an application does not answer plain requests.
const UNANSWERED_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The interchangeable applications behind a relay.
#[derive(Debug)]
pub(super) struct Applications {
    all: Vec<Application>,
    settings: Arc<RelayBackend>,
    /// Counts dials, to take the source addresses in turn.
    dials: AtomicUsize,
    /// Shared with those that these have replaced.
    pool: Arc<Mutex<Pool>>,
    /// Notified of every change of the pool, and when this is dropped.
    changed: Arc<Notify>,
}

/// One application.
#[derive(Debug)]
pub(super) struct Application {
    /// Its index in the configuration, from 0.
    number: usize,
    /// Its number in the pool.
    instance: usize,
    /// The configured URL.
    pub(super) url: String,
    pub(super) upstream: Arc<Upstream>,
    /// The opening handshakes and requests that it has not answered yet.
    pending: Arc<Semaphore>,
    /// The idle connections for plain requests.
    pub(super) pool: Arc<ConnectionPool>,
    /// Limits the log message about unanswered plain requests.
    unanswered_log: Arc<Mutex<LogThrottle>>,
}

/// A client's use of an application, which counts as a connection there until it is dropped.
#[derive(Debug)]
pub(crate) struct ApplicationLease {
    applications: Arc<Applications>,
    /// Taken on drop.
    choice: Option<Choice>,
}

/// An application with an open transport.
pub(super) struct ApplicationConnection<'a> {
    pub(super) application: &'a Application,
    pub(super) connected: Connected,
    pub(super) lease: ApplicationLease,
    /// Held until the application has answered.
    pub(super) _pending: SemaphorePermit<'a>,
}

/// An application with a connection for plain requests.
pub(super) struct PlainConnection<'a> {
    pub(super) application: &'a Application,
    pub(super) connection: AppConnection,
    pub(super) lease: ApplicationLease,
}

/// Why no application was connected to.
#[derive(Debug)]
pub(super) enum NotConnected<'a> {
    /// All applications are draining.
    Draining,
    /// Each available application has `max_pending` unanswered requests.
    TooMany(Limit),
    /// The last one tried could not be connected to.
    Failed(&'a Application, FailedConnect),
}

impl Applications {
    pub(super) fn new(settings: Arc<RelayBackend>) -> Result<Self, InvalidUrl> {
        let application = |(number, url): (usize, &UpstreamUrl)| {
            let trust = Trust::of(settings.ca_file.as_deref());
            Ok(Application {
                number,
                instance: number,
                url: url.as_str().to_owned(),
                upstream: Arc::new(Upstream::new(url.as_str(), trust)?),
                pending: Arc::new(Semaphore::new(settings.max_pending as usize)),
                pool: Arc::default(),
                unanswered_log: Arc::new(Mutex::new(LogThrottle::new(UNANSWERED_LOG_INTERVAL))),
            })
        };
        let all =
            settings.urls.iter().enumerate().map(application).collect::<Result<Vec<_>, _>>()?;
        if all.is_empty() {
            return Err(InvalidUrl::Missing);
        }
        let pool = Pool::new(&keys(&settings.urls), settings.balance, ejection(&settings));
        let pool = Arc::new(Mutex::new(pool));
        Ok(Self { all, settings, dials: AtomicUsize::new(0), pool, changed: Arc::default() })
    }

    /// Returns these applications in place of others. One that is among the others keeps its state,
    /// its connections and those that are idle; one that is not among these gets no clients any more.
    pub(super) fn succeeding(&self, others: &Self) -> Self {
        let settings = Arc::clone(&self.settings);
        let mut left: Vec<Option<&Application>> = others.all.iter().map(Some).collect();
        let mut predecessor = |url: &str| {
            left.iter_mut().find(|other| other.is_some_and(|other| other.url == url))?.take()
        };
        let predecessors: Vec<_> = self.all.iter().map(|one| predecessor(&one.url)).collect();
        let keys = keys(&settings.urls);
        let successions = predecessors.iter().zip(keys).map(|(other, key)| {
            let stays = other.map(|other| other.instance);
            Succession { stays, key }
        });
        let successions: Vec<_> = successions.collect();
        let mut pool = others.pool.lock();
        let instances = pool.change(settings.balance, ejection(&settings), &successions);
        if settings.health_path.is_none() {
            // Nothing would find them healthy again.
            for n in &instances {
                let _ = pool.probed(*n, true);
            }
        }
        drop(pool);
        let all = self.all.iter().zip(predecessors).zip(instances);
        let before = &others.settings;
        let all = all.map(|((one, other), instance)| Application {
            number: one.number,
            instance,
            url: one.url.clone(),
            upstream: Arc::clone(&one.upstream),
            pending: Arc::clone(match other {
                Some(other) if before.max_pending == settings.max_pending => &other.pending,
                Some(_) | None => &one.pending,
            }),
            pool: Arc::clone(match other {
                Some(other) if before.ca_file == settings.ca_file => &other.pool,
                Some(_) | None => &one.pool,
            }),
            unanswered_log: Arc::clone(&other.unwrap_or(one).unanswered_log),
        });
        Self {
            all: all.collect(),
            settings: Arc::clone(&settings),
            dials: AtomicUsize::new(others.dials.load(Ordering::Relaxed)),
            pool: Arc::clone(&others.pool),
            changed: Arc::clone(&others.changed),
        }
    }

    pub(super) fn all(&self) -> &[Application] {
        &self.all
    }

    pub(super) fn settings(&self) -> &RelayBackend {
        &self.settings
    }

    pub(super) fn view(&self) -> Vec<InstanceView> {
        let instances = self.pool.lock().view(now());
        self.all.iter().filter_map(|at| instances.get(at.instance).copied()).collect()
    }

    /// Connects to an application for a client; if one cannot be reached, tries another.
    ///
    /// # Cancel safety
    /// If the future is dropped, the attempt is aborted.
    pub(super) async fn connect(
        self: &Arc<Self>,
        client: Option<IpAddr>,
    ) -> Result<ApplicationConnection<'_>, NotConnected<'_>> {
        self.connect_from(client, None).await
    }

    /// Returns a connection to an application for a client's plain request: an idle one if `kept`
    /// allows it and there is one, else a new one.
    ///
    /// # Cancel safety
    /// As [`Applications::connect`].
    pub(super) async fn connect_plain(
        self: &Arc<Self>,
        client: Option<IpAddr>,
        kept: bool,
    ) -> Result<PlainConnection<'_>, NotConnected<'_>> {
        let mut chosen = None;
        if kept && let Ok((application, lease)) = self.choose(client, &[]) {
            if let Some(connection) = application.pool.take() {
                return Ok(PlainConnection { application, connection, lease });
            }
            chosen = Some((application, lease));
        }
        let ApplicationConnection { application, connected, lease, .. } =
            self.connect_from(client, chosen).await?;
        match AppConnection::new(connected.transport).await {
            Ok(connection) => Ok(PlainConnection { application, connection, lease }),
            Err(error) => {
                let failure = OpenFailure::PeerGone;
                let failed = FailedConnect::before_tcp(failure, error.to_string());
                Err(NotConnected::Failed(application, failed))
            }
        }
    }

    /// Connects to the chosen application first, if there is one, else as
    /// [`Applications::connect`].
    async fn connect_from<'a>(
        self: &'a Arc<Self>,
        client: Option<IpAddr>,
        mut chosen: Option<(&'a Application, ApplicationLease)>,
    ) -> Result<ApplicationConnection<'a>, NotConnected<'a>> {
        let (mut tried, mut failed) = (Vec::new(), None);
        let mut tries = self.settings.tries;
        loop {
            let choice = chosen.take().map_or_else(|| self.choose(client, &tried), Ok);
            let (application, lease) = match choice {
                Ok(chosen) => chosen,
                Err(NoApplication::AllDraining) => return Err(NotConnected::Draining),
                // All were tried: begins again, as tries are left.
                Err(NoApplication::Exhausted) if failed.is_some() => {
                    tried.clear();
                    continue;
                }
                Err(NoApplication::Exhausted) => {
                    return Err(NotConnected::TooMany(self.pending_limit()));
                }
            };
            tried.extend(lease.instance());
            let Ok(pending) = application.pending.try_acquire() else {
                if failed.is_some() {
                    return Err(NotConnected::TooMany(self.pending_limit()));
                }
                continue;
            };
            tries = tries.saturating_sub(1);
            match application.upstream.connect(self.options()).await {
                Ok(connected) => {
                    return Ok(ApplicationConnection {
                        application,
                        connected,
                        lease,
                        _pending: pending,
                    });
                }
                Err(why) => {
                    // An unreadable CA file is a fault of this end: nothing was dialled.
                    let ours = why.failure == OpenFailure::Tls && why.transport_end.is_none();
                    if let Some(observation) = Observation::of_dial(why.failure).filter(|_| !ours) {
                        lease.observe(observation);
                    }
                    if tries == 0 {
                        return Err(NotConnected::Failed(application, why));
                    }
                    failed = Some(why);
                }
            }
        }
    }

    /// Returns the options of the next dial, with the source address whose turn it is.
    pub(super) fn options(&self) -> UpstreamOptions {
        let sources = &self.settings.source_addresses;
        let source = match sources.len() {
            0 => None,
            len => sources.get(self.dials.fetch_add(1, Ordering::Relaxed) % len).copied(),
        };
        UpstreamOptions {
            connect_timeout: self.settings.connect_timeout,
            tls_timeout: self.settings.response_timeout,
            source,
        }
    }

    /// Changes the pool, and reports what has changed.
    pub(super) fn change<C: IntoIterator<Item = Change>>(&self, with: impl FnOnce(&mut Pool) -> C) {
        let changes = with(&mut self.pool.lock());
        changes.into_iter().for_each(|change| self.report_change(&change));
    }

    /// Does the same where the application may not exist; returns whether anything has changed.
    pub(super) fn try_change(
        &self,
        number: usize,
        with: impl FnOnce(&mut Pool, usize) -> Result<Option<Change>, NoInstance>,
    ) -> Result<bool, NoInstance> {
        let instance = self.instance(number)?;
        let change = with(&mut self.pool.lock(), instance)?;
        change.iter().for_each(|change| self.report_change(change));
        Ok(change.is_some())
    }

    /// Returns the number in the pool of the application with this number.
    fn instance(&self, number: usize) -> Result<usize, NoInstance> {
        let found = self.all.get(number).map(|application| application.instance);
        found.ok_or(NoInstance { instance: number, len: self.all.len() })
    }

    /// Returns the application with this number in the pool, unless it was retired.
    fn of_instance(&self, instance: usize) -> Option<&Application> {
        self.all.iter().find(|application| application.instance == instance)
    }

    /// Returns what is notified when the pool has changed or was dropped.
    pub(super) fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// Returns the deadline of the pool's next change.
    pub(super) fn poll_deadline(&self) -> Option<Instant> {
        self.pool.lock().poll_deadline()
    }

    fn choose(
        self: &Arc<Self>,
        client: Option<IpAddr>,
        tried: &[usize],
    ) -> Result<(&Application, ApplicationLease), NoApplication> {
        let choice = self.pool.lock().choose(now(), client, tried)?;
        let application = self.of_instance(choice.instance());
        let lease = ApplicationLease { applications: Arc::clone(self), choice: Some(choice) };
        // The pool has one instance for each application; those of a pool that was changed meanwhile
        // may be others, though.
        application.map(|application| (application, lease)).ok_or(NoApplication::Exhausted)
    }

    fn pending_limit(&self) -> Limit {
        let limit = u64::from(self.settings.max_pending);
        Limit { name: "max_pending", limit, observed: limit }
    }

    fn report_change(&self, change: &Change) {
        self.changed.notify_one();
        let Some(application) = self.of_instance(change.instance()) else { return };
        let url = application.shown_url();
        match change {
            Change::Ejected { observation, failures, .. } => tracing::warn!(
                upstream = %url, %observation, failures,
                "the application is failing and gets no new clients for a while"
            ),
            Change::Spared { observation, failures, .. } => tracing::warn!(
                upstream = %url, %observation, failures,
                "the application is failing and still gets clients, as too many others fail too"
            ),
            Change::Unhealthy { .. } => {
                tracing::warn!(upstream = %url, "the application failed its health check");
            }
            Change::Returned { .. }
            | Change::Healthy { .. }
            | Change::Draining { .. }
            | Change::Resumed { .. } => {
                let state = change.as_str();
                tracing::info!(upstream = %url, state, "the state of the application has changed");
            }
        }
    }
}

impl Drop for Applications {
    fn drop(&mut self) {
        self.changed.notify_one();
    }
}

fn ejection(settings: &RelayBackend) -> Option<Ejection> {
    NonZeroU32::new(settings.eject_after)
        .map(|after| Ejection { after, lasting: settings.eject_for })
}

/// Returns the keys that rank applications by the address of a client. They are made of the URLs, so
/// that a client stays where it is when others come and go.
fn keys(urls: &[UpstreamUrl]) -> Vec<u64> {
    let key = |(n, url): (usize, &UpstreamUrl)| {
        let same = urls[..n].iter().filter(|other| *other == url).count();
        let mut bytes = url.as_str().as_bytes().to_vec();
        bytes.extend((same as u64).to_le_bytes());
        SipHasher13::new().hash(&bytes)
    };
    urls.iter().enumerate().map(key).collect()
}

impl Application {
    /// Returns the `upstream` that is recorded before it is dialled.
    pub(super) fn record(&self, records: &Records) -> RecordedUpstream {
        let url = records.recorded_url(&self.url);
        let number = Some(self.number);
        RecordedUpstream { url, number, addr: None, connect: None, status: None }
    }

    /// Logs an unanswered plain request, throttled: there may be thousands.
    pub(super) fn log_unanswered(&self, why: &str) {
        let mut throttle = self.unanswered_log.lock();
        if let Some(suppressed) = throttle.check(now()) {
            tracing::warn!(
                upstream = %self.shown_url(), why, suppressed,
                "plain HTTP: the application did not answer"
            );
        }
    }

    /// Returns its URL with secrets masked.
    pub(super) fn shown_url(&self) -> String {
        masking::record_url(&self.url, Masking::Mask, &[])
    }
}

impl ApplicationLease {
    /// Reports an observation of the application to the pool.
    pub(super) fn observe(&self, observation: Observation) {
        if let Some(choice) = &self.choice {
            self.applications.change(|pool| pool.report(choice, now(), observation));
        }
    }

    /// Returns the application.
    pub(super) fn application(&self) -> Option<&Application> {
        self.applications.of_instance(self.instance()?)
    }

    fn instance(&self) -> Option<usize> {
        self.choice.as_ref().map(Choice::instance)
    }
}

impl Lease for ApplicationLease {
    fn drains(&self) -> bool {
        let pool = self.applications.pool.lock();
        self.choice.as_ref().is_some_and(|choice| pool.is_draining(choice))
    }

    fn ended(self: Box<Self>, outcome: &Outcome) {
        if let Some(observation) = Observation::of_ending(outcome) {
            self.observe(observation);
        }
    }
}

impl Drop for ApplicationLease {
    fn drop(&mut self) {
        if let Some(choice) = self.choice.take() {
            self.applications.pool.lock().release(choice);
        }
    }
}
