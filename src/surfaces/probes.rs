//! `/livez`, `/readyz` and `/metrics`: the same wherever they are served.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

/// Whether the daemon takes new connections, and whether it can record how they end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Not every listener accepts yet.
    Starting,
    /// Every listener accepts.
    Ready,
    /// Every listener accepts, but endings cannot be stored (`ledger.on_failure = "serve"`).
    Degraded {
        /// Why.
        problem: String,
    },
    /// Endings cannot be stored, so new connections are refused (`ledger.on_failure = "refuse"`).
    Failing {
        /// Why.
        problem: String,
    },
    /// New connections are refused, because it drains or is about to stop.
    Draining,
}

impl Readiness {
    /// Returns whether new connections are accepted.
    pub const fn is_ready(&self) -> bool {
        match self {
            Self::Ready | Self::Degraded { .. } => true,
            Self::Starting | Self::Failing { .. } | Self::Draining => false,
        }
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::Ready => f.write_str("ready"),
            Self::Degraded { problem } => write!(f, "degraded: {problem}"),
            Self::Failing { problem } => write!(f, "failing: {problem}"),
            Self::Draining => f.write_str("draining"),
        }
    }
}

/// The content type of the metrics.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const TEXT: &str = "text/plain; charset=utf-8";

/// Answers probes and scrapers. Cloning is cheap.
#[derive(Clone)]
pub struct Probes {
    readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
    metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

impl Probes {
    /// Answers from what these two say at the moment. `readiness` must not block; `metrics` may
    /// work for some milliseconds.
    pub fn new(
        readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
        metrics: Arc<dyn Fn() -> String + Send + Sync>,
    ) -> Self {
        Self { readiness, metrics }
    }

    /// Returns the answer to a GET of this path; `None` for any other path.
    pub async fn answer(&self, path: &str) -> Option<Response<Full<Bytes>>> {
        match path {
            "/livez" => Some(answer(StatusCode::OK, TEXT, "ok".to_owned())),
            "/readyz" => {
                let readiness = (self.readiness)();
                let ready = readiness.is_ready();
                let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                Some(answer(status, TEXT, readiness.to_string()))
            }
            "/metrics" => Some(self.scrape().await),
            _ => None,
        }
    }

    /// Renders the metrics beside the workers: with many connections it takes milliseconds.
    async fn scrape(&self) -> Response<Full<Bytes>> {
        let metrics = Arc::clone(&self.metrics);
        match tokio::task::spawn_blocking(move || metrics()).await {
            Ok(text) => answer(StatusCode::OK, OPEN_METRICS, text),
            Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
        }
    }
}

impl fmt::Debug for Probes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probes").finish_non_exhaustive()
    }
}

/// Builds a response that must not be cached.
pub(super) fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: String,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn readyz(readiness: Readiness) -> u16 {
        let probes = Probes::new(Arc::new(move || readiness.clone()), Arc::new(String::new));
        probes.answer("/readyz").await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn it_is_ready_while_new_connections_are_welcome() {
        let problem = || "no space left on ledger.db".to_owned();
        assert_eq!(readyz(Readiness::Ready).await, 200);
        assert_eq!(readyz(Readiness::Degraded { problem: problem() }).await, 200);
        assert_eq!(readyz(Readiness::Starting).await, 503);
        assert_eq!(readyz(Readiness::Failing { problem: problem() }).await, 503);
        assert_eq!(readyz(Readiness::Draining).await, 503);
        let degraded = Readiness::Degraded { problem: problem() };
        assert_eq!(degraded.to_string(), "degraded: no space left on ledger.db");
    }

    #[tokio::test]
    async fn metrics_come_from_their_source() {
        let probes =
            Probes::new(Arc::new(|| Readiness::Starting), Arc::new(|| "# EOF\n".to_owned()));
        let metrics = probes.answer("/metrics").await.unwrap();
        assert_eq!(
            (metrics.status(), &metrics.headers()[CONTENT_TYPE]),
            (StatusCode::OK, OPEN_METRICS.try_into().as_ref().unwrap())
        );
        assert!(probes.answer("/metric").await.is_none());
    }
}
