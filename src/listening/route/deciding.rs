//! What a route's code is asked, and what it answers.

use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::actor::backend::{Backend, with_causes};
use crate::relay::Relay;
use crate::runtime::tasks::catch;
use crate::settings::ConnectionSettings;
use crate::transport::opening_handshake::{Refusal, Request};
use crate::transport::socket::SocketName;
use crate::vocabulary::OpenFailure;

/// A request to open a WebSocket, whole, as a route's code sees it. It has been checked to be one.
#[derive(Debug, Clone)]
pub struct OpeningRequest {
    request: Request,
    facts: Arc<Facts>,
}

#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) peer: SocketName,
    pub(crate) local: Option<SocketName>,
    pub(crate) listener: String,
    pub(crate) route: String,
    pub(crate) tags: BTreeMap<String, String>,
}

impl OpeningRequest {
    pub(crate) fn new(request: &Request, facts: Facts) -> Self {
        Self { request: request.clone(), facts: Arc::new(facts) }
    }

    /// Returns the method, which is GET.
    pub fn method(&self) -> &Method {
        self.request.method()
    }

    /// Returns the path and the query as they came, without decoding.
    pub fn target(&self) -> &str {
        self.request.target()
    }

    /// Returns the path as it came, without decoding.
    pub fn path(&self) -> &str {
        self.request.path()
    }

    /// Returns the query as it came, without decoding.
    pub fn query(&self) -> Option<&str> {
        self.request.query()
    }

    /// Returns all header lines, cookies and authorization among them.
    pub fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// Returns the host, and the port if it was named.
    pub fn host(&self) -> Option<&str> {
        self.request.host()
    }

    /// Returns the `Origin`. A browser always sends one; it has passed the route's `origins`.
    pub fn origin(&self) -> Option<String> {
        self.request.origin()
    }

    /// Returns the subprotocols that are offered, in the client's order.
    pub fn subprotocols(&self) -> Vec<String> {
        self.request.subprotocols().into_iter().map(String::from).collect()
    }

    /// Returns where the client is.
    pub fn peer(&self) -> &SocketName {
        &self.facts.peer
    }

    /// Returns this end of the connection.
    pub fn local(&self) -> Option<&SocketName> {
        self.facts.local.as_ref()
    }

    /// Returns the name of the listener that accepted it.
    pub fn listener(&self) -> &str {
        &self.facts.listener
    }

    /// Returns the name of the route.
    pub fn route(&self) -> &str {
        &self.facts.route
    }

    /// Returns the labels that the route takes from path and query.
    pub fn tags(&self) -> &BTreeMap<String, String> {
        &self.facts.tags
    }
}

/// Lets a client in: what a route's code answers. A [`Backend`] alone becomes one with `into()`.
#[derive(Debug)]
#[must_use]
pub struct Accept {
    pub(crate) destination: Destination,
    pub(crate) subject: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) settings: Option<Arc<ConnectionSettings>>,
    pub(crate) subprotocol: Option<String>,
}

/// Where an accepted connection goes.
#[derive(Debug)]
pub(crate) enum Destination {
    Backend(Backend),
    Relay(Arc<Relay>),
}

impl Accept {
    /// Gives the messages to a backend.
    pub fn new(backend: Backend) -> Self {
        Self::to(Destination::Backend(backend))
    }

    /// Passes the connection on to an application, which is asked before the client has its answer.
    #[cfg(feature = "relay")]
    pub fn relay(relay: Arc<Relay>) -> Self {
        Self::to(Destination::Relay(relay))
    }

    fn to(destination: Destination) -> Self {
        Self {
            destination,
            subject: None,
            tags: BTreeMap::new(),
            settings: None,
            subprotocol: None,
        }
    }

    /// Tells who the client is, for the record and for selectors; at most 256 printable bytes.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Labels the connection, over a label of the route's with the same name; at most 256 printable
    /// bytes each for the name, which has no colon, and the value.
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(name.into(), value.into());
        self
    }

    /// Sets what holds for the connection, in place of the route's settings.
    pub fn settings(mut self, settings: ConnectionSettings) -> Self {
        self.settings = Some(Arc::new(settings.bounded()));
        self
    }

    /// Agrees on this subprotocol, one of those that were offered, in place of the route's choice.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocol = Some(name.into());
        self
    }
}

impl From<Backend> for Accept {
    fn from(backend: Backend) -> Self {
        Self::new(backend)
    }
}

/// Turns a client away: what a route's code answers.
///
/// The attempt is recorded as `open_failed`: with 401 and 403 as `unauthorized`, with 429 as
/// `refused_rate`, with another 4xx as `bad_request`, else as `backend_refused`. Any error becomes
/// one with `?`: the client then gets 500 without a reason, and the record has the error with its
/// causes.
#[derive(Debug, Clone)]
#[must_use]
pub struct Refuse {
    status: StatusCode,
    text: String,
    detail: Option<String>,
    headers: HeaderMap,
    /// How long the client is asked to wait.
    wait: Option<Duration>,
}

impl Refuse {
    /// Answers with a status and a line of text, which is recorded as well.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        let headers = HeaderMap::new();
        Self { status, text: text.into(), detail: None, headers, wait: None }
    }

    /// Answers 401: nobody knows who the client is. `challenge` is the line `WWW-Authenticate`, such
    /// as `Bearer`.
    pub fn unauthorized(challenge: &'static str, text: impl Into<String>) -> Self {
        let challenge = HeaderValue::from_static(challenge);
        Self::new(StatusCode::UNAUTHORIZED, text).header(WWW_AUTHENTICATE, challenge)
    }

    /// Answers 403: the client may not.
    pub fn forbidden(text: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, text)
    }

    /// Adds a header line to the answer.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Asks the client to wait before it comes back (`Retry-After`).
    pub fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let refuse = self.header(RETRY_AFTER, HeaderValue::from(seconds));
        Self { wait: Some(wait), ..refuse }
    }

    /// Records this instead of the text, which the client reads.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Makes the answer of it; a status that would not turn the client away becomes 500.
    pub(crate) fn into_refusal(self) -> Refusal {
        let Self { status, text, detail, headers, wait } = self;
        let status = match status.as_u16() {
            300..=599 => status,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let failure = match status.as_u16() {
            401 | 403 => OpenFailure::Unauthorized,
            429 => OpenFailure::RefusedRate,
            400..=499 => OpenFailure::BadRequest,
            _ => OpenFailure::BackendRefused,
        };
        let recorded = detail.unwrap_or_else(|| text.clone());
        let refusal = Refusal::new(status, failure, recorded).showing(&text).with_lines(headers);
        Refusal { wait, ..refusal }
    }

    /// Refuses because the route's own code failed: that is none of the client's business.
    pub(crate) fn failed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed").detail(detail)
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Refuse {
    fn from(error: E) -> Self {
        Self::failed(with_causes(&*error.into()))
    }
}

/// The code of a route, asked about each request.
pub(crate) type Decide = Arc<dyn Fn(OpeningRequest) -> Deciding + Send + Sync + 'static>;

type Deciding = Pin<Box<dyn Future<Output = Result<Accept, Refuse>> + Send>>;

/// Makes one shape of whatever an embedder asks with.
pub(super) fn boxed<F, Fut, A>(decide: F) -> Decide
where
    F: Fn(OpeningRequest) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<A, Refuse>> + Send + 'static,
    A: Into<Accept>,
{
    let decide = Arc::new(decide);
    Arc::new(move |request| {
        let decide = Arc::clone(&decide);
        // Called when it is polled, where a panic is caught.
        Box::pin(async move {
            let deciding = decide(request);
            drop(decide);
            deciding.await.map(Into::into)
        })
    })
}

/// Asks the code of a route; a panic of it turns the client away.
pub(crate) async fn asked(decide: &Decide, request: OpeningRequest) -> Result<Accept, Refuse> {
    match catch(decide(request)).await {
        Ok(decided) => decided,
        Err(panic) => Err(Refuse::failed(format!("the route's code panicked: {panic}"))),
    }
}
