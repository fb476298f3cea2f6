//! Clients whose requests are passed on as plain HTTP: how many there may be, how they are counted,
//! and how they end when the node drains. None of them is a connection or an attempt.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::policy::admission::{Admission, AdmissionLimits, NotAdmitted};
use crate::policy::rate::TokenBucket;
use crate::runtime::now;
use crate::transport::http_proxy::ClientSession;
use crate::vocabulary::{HttpCensus, HttpOutcome, Limit};

/// All clients of a node whose requests are passed on as plain HTTP.
#[derive(Debug)]
pub(crate) struct PlainClients {
    here: Mutex<Here>,
    rate: Mutex<Rate>,
    outcomes: [AtomicU64; HttpOutcome::ALL.len()],
    /// Told when the last has gone.
    left: Arc<Notify>,
}

/// The rate of requests.
#[derive(Debug)]
struct Rate {
    per_second: u64,
    bucket: Option<TokenBucket>,
}

#[derive(Debug)]
struct Here {
    admission: Admission,
    sessions: Vec<Option<Arc<ClientSession>>>,
    free: Vec<usize>,
    /// Where to look next for one that may make way.
    next: usize,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    Ending,
    Cut,
}

/// A client's place; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct PlainPlace {
    clients: Arc<PlainClients>,
    at: usize,
    /// The address that it is counted under.
    ip: Option<IpAddr>,
}

impl PlainClients {
    pub(crate) fn new(limits: AdmissionLimits, left: Arc<Notify>) -> Self {
        let here = Here {
            admission: Admission::new(bounds(limits), now()),
            sessions: Vec::new(),
            free: Vec::new(),
            next: 0,
            phase: Phase::Open,
        };
        Self {
            here: Mutex::new(here),
            rate: Mutex::new(Rate::per_second(limits.http_requests_per_second)),
            outcomes: Default::default(),
            left,
        }
    }

    /// Applies other limits from now on. Those who are connected stay.
    pub(crate) fn set_limits(&self, limits: AdmissionLimits) {
        self.here.lock().admission.set_limits(bounds(limits), now());
        let mut rate = self.rate.lock();
        if rate.per_second != limits.http_requests_per_second {
            *rate = Rate::per_second(limits.http_requests_per_second);
        }
    }

    /// Takes a slot for a client. If none is free, an idle client is closed for it.
    ///
    /// # Errors
    /// There are too many, and each is served.
    pub(crate) fn enter(
        self: &Arc<Self>,
        ip: Option<IpAddr>,
        session: &Arc<ClientSession>,
    ) -> Result<PlainPlace, NotAdmitted> {
        let mut here = self.here.lock();
        let ip = match here.admission.admit(now(), ip) {
            Ok(()) => ip,
            Err(mut refused) if refused.limit.name == "max_connections" => {
                if !here.make_way() {
                    refused.limit.name = "max_http_connections";
                    return Err(refused);
                }
                here.admission.count_dialled();
                None
            }
            Err(refused) => return Err(refused),
        };
        match here.phase {
            Phase::Open => {}
            Phase::Ending => session.end(),
            Phase::Cut => session.cut(),
        }
        let at = here.free.pop().unwrap_or(here.sessions.len());
        if at == here.sessions.len() {
            here.sessions.push(None);
        }
        here.sessions[at] = Some(Arc::clone(session));
        Ok(PlainPlace { clients: Arc::clone(self), at, ip })
    }

    /// Lets one request more in.
    ///
    /// # Errors
    /// There were too many in this second.
    pub(crate) fn admit(&self) -> Result<(), Limit> {
        let mut rate = self.rate.lock();
        if rate.bucket.as_mut().is_none_or(|bucket| bucket.take(now())) {
            return Ok(());
        }
        let limit = rate.per_second;
        Err(Limit { name: "http_requests_per_second", limit, observed: limit.saturating_add(1) })
    }

    /// Counts what became of a request.
    pub(crate) fn count(&self, outcome: HttpOutcome) {
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn census(&self) -> HttpCensus {
        let outcomes = HttpOutcome::ALL
            .map(|outcome| (outcome, self.outcomes[outcome as usize].load(Ordering::Relaxed)));
        HttpCensus { connections: self.present(), outcomes }
    }

    pub(crate) fn present(&self) -> u64 {
        self.here.lock().admission.connections()
    }

    /// Returns whether any is still answered, and not only waited for to take its answer.
    pub(crate) fn any_served(&self) -> bool {
        self.here.lock().sessions.iter().flatten().any(|session| session.is_driven())
    }

    /// Lets no further request in, and what is under way finish.
    pub(crate) fn end(&self) {
        self.pass(Phase::Ending, ClientSession::end);
    }

    /// Ends whatever is under way.
    pub(crate) fn cut(&self) {
        self.pass(Phase::Cut, ClientSession::cut);
    }

    /// Lets requests in again, of clients that come from now on.
    pub(crate) fn reopen(&self) {
        self.pass(Phase::Open, |_| {});
    }

    fn pass(&self, phase: Phase, tell: fn(&ClientSession)) {
        let mut here = self.here.lock();
        here.phase = phase;
        here.sessions.iter().flatten().for_each(|session| tell(session));
    }
}

impl Rate {
    fn per_second(per_second: u64) -> Self {
        Self { per_second, bucket: TokenBucket::per_second(per_second, now()) }
    }
}

fn bounds(limits: AdmissionLimits) -> AdmissionLimits {
    AdmissionLimits {
        max_connections: limits.max_http_connections,
        max_connections_per_ip: limits.max_connections_per_ip,
        ..AdmissionLimits::default()
    }
}

impl Here {
    /// Ends one that has no request under way; the longest search is one round.
    fn make_way(&mut self) -> bool {
        let len = self.sessions.len();
        for at in (self.next..len).chain(0..self.next.min(len)) {
            if self.sessions[at].as_ref().is_some_and(|session| session.end_if_idle()) {
                self.next = at + 1;
                return true;
            }
        }
        false
    }
}

impl Drop for PlainPlace {
    fn drop(&mut self) {
        let mut here = self.clients.here.lock();
        here.sessions[self.at] = None;
        here.free.push(self.at);
        here.admission.release(self.ip);
        if here.admission.connections() == 0 {
            self.clients.left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn clients(limits: AdmissionLimits) -> Arc<PlainClients> {
        Arc::new(PlainClients::new(limits, Arc::default()))
    }

    fn session() -> Arc<ClientSession> {
        Arc::new(ClientSession::new(Duration::from_secs(60)))
    }

    #[test]
    fn one_that_is_served_makes_way_for_nobody() {
        let limits = AdmissionLimits { max_http_connections: 2, ..AdmissionLimits::default() };
        let clients = clients(limits);
        let first = clients.enter(None, &session()).unwrap();
        let _second = clients.enter(None, &session()).unwrap();
        let refused = clients.enter(None, &session()).unwrap_err();
        assert_eq!((refused.limit.name, refused.limit.limit), ("max_http_connections", 2));
        drop(first);
        let _third = clients.enter(None, &session()).unwrap();
        assert_eq!(clients.present(), 2);
    }

    #[test]
    fn requests_have_a_rate_of_their_own() {
        let limits = AdmissionLimits { http_requests_per_second: 2, ..AdmissionLimits::default() };
        let clients = clients(limits);
        assert!(clients.admit().is_ok() && clients.admit().is_ok());
        assert_eq!(clients.admit().unwrap_err().name, "http_requests_per_second");
    }
}
