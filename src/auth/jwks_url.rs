//! Keys that are fetched: one fetch at a time, however many clients wait, and the old keys stay until
//! there are new ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{ACCEPT, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::key_set::KeySet;
use crate::runtime::now;
use crate::runtime::tasks::{Owned, catch};
use crate::settings::{HttpUrl, JwtAuth};
use crate::transport::http_get::HttpGet;
use crate::transport::tls::Trust;

/// The least time between two fetches, which unknown key ids cannot force.
const INTERVAL: Duration = Duration::from_secs(10);

/// The same after a fetch that failed.
const INTERVAL_AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Keys that are fetched from a URL.
#[derive(Debug)]
pub(super) struct JwksUrl {
    shared: Arc<Shared>,
    /// The fetch that is under way, or was last; it ends with its owner.
    task: Mutex<Option<Owned>>,
}

#[derive(Debug)]
struct Shared {
    client: HttpGet,
    target: PathAndQuery,
    timeout: Duration,
    refresh: Duration,
    max_size: usize,
    state: Mutex<State>,
    /// Notified when a fetch has ended.
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    keys: Option<Arc<KeySet>>,
    fetched_at: Option<Instant>,
    last: LastFetch,
}

#[derive(Debug, Default)]
enum LastFetch {
    /// There was none.
    #[default]
    None,
    UnderWay,
    Good {
        began: Instant,
    },
    Failed {
        began: Instant,
        why: String,
    },
}

/// There are no keys for a token, and the last fetch failed: it may be good or not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the keys of jwks_url are not known: {0}")]
pub(super) struct NotFetched(String);

/// What a client does about the keys.
enum Step {
    Use(Arc<KeySet>),
    Wait,
    GiveUp(NotFetched),
}

impl JwksUrl {
    pub(super) fn new(url: &HttpUrl, settings: &JwtAuth) -> Self {
        let trust = Trust::of(settings.ca_file.as_deref());
        let target = match url {
            HttpUrl::Tcp(url) => url.target().clone(),
            HttpUrl::Unix(_) => PathAndQuery::from_static("/"),
        };
        let shared = Shared {
            client: HttpGet::new(url, trust),
            target,
            timeout: settings.jwks_timeout,
            refresh: settings.jwks_refresh,
            max_size: usize::try_from(settings.jwks_max_size.0).unwrap_or(usize::MAX),
            state: Mutex::default(),
            ended: Notify::new(),
        };
        Self { shared: Arc::new(shared), task: Mutex::default() }
    }

    /// Fetches the keys unless that is done or under way.
    pub(super) fn warm(&self) {
        if self.shared.state.lock().begin(now()) {
            self.spawn();
        }
    }

    /// Returns keys among which `knows` finds that of a token, after a fetch if need be; or those of a
    /// fetch that is not long ago, if they do not have it.
    pub(super) async fn current(
        &self,
        knows: impl Fn(&KeySet) -> bool,
    ) -> Result<Arc<KeySet>, NotFetched> {
        let ended = self.shared.ended.notified();
        tokio::pin!(ended);
        // From here on, no end is missed.
        ended.as_mut().enable();
        let (step, fetches) = self.shared.step(now(), &knows);
        if fetches {
            self.spawn();
        }
        match step {
            Step::Use(keys) => Ok(keys),
            Step::GiveUp(error) => Err(error),
            Step::Wait => {
                // The fetch has a deadline itself: after this one its state is as it is.
                let _ = timeout(self.shared.timeout + INTERVAL, ended).await;
                let state = self.shared.state.lock();
                match (&state.keys, &state.last) {
                    (Some(keys), LastFetch::Good { .. }) => Ok(Arc::clone(keys)),
                    (Some(keys), _) if knows(keys) => Ok(Arc::clone(keys)),
                    (_, LastFetch::Failed { why, .. }) => Err(NotFetched(why.clone())),
                    (_, _) => Err(NotFetched("fetching them takes too long".to_owned())),
                }
            }
        }
    }

    fn spawn(&self) {
        let shared = Arc::clone(&self.shared);
        *self.task.lock() = Some(Owned::spawn(async move { shared.fetch().await }));
    }
}

impl Shared {
    /// Decides what to do, and whether to begin a fetch.
    fn step(&self, now: Instant, knows: impl Fn(&KeySet) -> bool) -> (Step, bool) {
        let mut state = self.state.lock();
        if let Some(keys) = state.keys.as_ref().filter(|keys| knows(keys)).map(Arc::clone) {
            return (Step::Use(keys), state.is_older(now, self.refresh) && state.begin(now));
        }
        if state.begin(now) {
            return (Step::Wait, true);
        }
        let step = match (&state.last, &state.keys) {
            (LastFetch::UnderWay, _) => Step::Wait,
            (LastFetch::Good { .. }, Some(keys)) => Step::Use(Arc::clone(keys)),
            (LastFetch::Failed { why, .. }, _) => Step::GiveUp(NotFetched(why.clone())),
            (LastFetch::None | LastFetch::Good { .. }, _) => Step::Wait,
        };
        (step, false)
    }

    async fn fetch(&self) {
        let began = now();
        let fetched = catch(self.get()).await.unwrap_or_else(Err);
        {
            let mut state = self.state.lock();
            match fetched {
                Ok(keys) => {
                    state.keys = Some(Arc::new(keys));
                    state.fetched_at = Some(now());
                    state.last = LastFetch::Good { began };
                }
                Err(why) => {
                    let had_keys = state.keys.is_some();
                    tracing::warn!(why, had_keys, "the keys of jwks_url could not be fetched");
                    state.last = LastFetch::Failed { began, why };
                }
            }
        }
        self.ended.notify_waiters();
    }

    async fn get(&self) -> Result<KeySet, String> {
        let mut headers = HeaderMap::new();
        let accepted = HeaderValue::from_static("application/jwk-set+json, application/json");
        headers.insert(ACCEPT, accepted);
        let answer = self.client.get(&self.target, headers, self.max_size, self.timeout).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status != StatusCode::OK {
            return Err(format!("the server answered {}", answer.status.as_u16()));
        }
        // Servers name many content types; what counts is whether it can be read.
        KeySet::from_jwks(&answer.body).map_err(|error| format!("of the answer, {error}"))
    }
}

impl State {
    /// Begins a fetch, unless one is under way or was a moment ago.
    fn begin(&mut self, now: Instant) -> bool {
        let may = match &self.last {
            LastFetch::None => true,
            LastFetch::UnderWay => false,
            LastFetch::Good { began } => now.saturating_duration_since(*began) >= INTERVAL,
            LastFetch::Failed { began, .. } => {
                now.saturating_duration_since(*began) >= INTERVAL_AFTER_FAILURE
            }
        };
        if may {
            self.last = LastFetch::UnderWay;
        }
        may
    }

    fn is_older(&self, now: Instant, age: Duration) -> bool {
        self.fetched_at.is_none_or(|at| now.saturating_duration_since(at) >= age)
    }
}

#[cfg(test)]
mod tests;
