//! The request that a route's code decides about, and its two answers: accept or refuse.

use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::actor::backend::{Backend, with_causes};
use crate::relay::Relay;
use crate::runtime::tasks::catch;
use crate::settings::ConnectionSettings;
use crate::transport::opening_handshake::{Refusal, Request, value_of_retry_after};
use crate::transport::socket::SocketName;
use crate::vocabulary::OpenFailure;

/// A valid request to open a WebSocket, passed to the code of a route.
#[derive(Debug, Clone)]
pub struct OpeningRequest {
    request: Request,
    facts: Arc<Facts>,
}

#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) peer: SocketName,
    pub(crate) via: Option<SocketName>,
    pub(crate) local: Option<SocketName>,
    pub(crate) listener: String,
    pub(crate) route: String,
    pub(crate) subject: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) tls: Option<&'static str>,
    pub(crate) certificate_subject: Option<String>,
}

impl OpeningRequest {
    pub(crate) fn new(request: &Request, facts: Facts) -> Self {
        Self { request: request.clone(), facts: Arc::new(facts) }
    }

    /// Returns the method, which is GET.
    pub fn method(&self) -> &Method {
        self.request.method()
    }

    /// Returns the path and the query as received, without decoding.
    pub fn target(&self) -> &str {
        self.request.target()
    }

    /// Returns the path as received, without decoding.
    pub fn path(&self) -> &str {
        self.request.path()
    }

    /// Returns the query as received, without decoding.
    pub fn query(&self) -> Option<&str> {
        self.request.query()
    }

    /// Returns all header fields, including cookies and authorization.
    pub fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// Returns the host, with the port if the request names one.
    pub fn host(&self) -> Option<&str> {
        self.request.host()
    }

    /// Returns the `Origin`, which every browser sends and the route's `origins` allow.
    pub fn origin(&self) -> Option<String> {
        self.request.origin()
    }

    /// Returns the subprotocols that the client offers, in its order.
    pub fn subprotocols(&self) -> Vec<String> {
        self.request.subprotocols().into_iter().map(String::from).collect()
    }

    /// Returns the address of the client.
    pub fn peer(&self) -> &SocketName {
        &self.facts.peer
    }

    /// Returns the address of the trusted proxy in front that named the client, if there is one.
    pub fn via(&self) -> Option<&SocketName> {
        self.facts.via.as_ref()
    }

    /// Returns the local address of the connection.
    pub fn local(&self) -> Option<&SocketName> {
        self.facts.local.as_ref()
    }

    /// Returns the name of the listener that accepted the connection.
    pub fn listener(&self) -> &str {
        &self.facts.listener
    }

    /// Returns the name of the route.
    pub fn route(&self) -> &str {
        &self.facts.route
    }

    /// Returns who the client is, as the route's `auth` or the client's certificate says.
    pub fn subject(&self) -> Option<&str> {
        self.facts.subject.as_deref()
    }

    /// Returns the tags that the route takes from path and query, and those of its `auth`.
    pub fn tags(&self) -> &BTreeMap<String, String> {
        &self.facts.tags
    }

    /// Returns the TLS version, such as `TLSv1.3`; `None` without TLS.
    pub fn tls(&self) -> Option<&str> {
        self.facts.tls
    }

    /// Returns who the client's certificate was issued to: its first subject alternative name, else its
    /// common name. It is the connection's subject unless the answer sets another.
    pub fn certificate_subject(&self) -> Option<&str> {
        self.facts.certificate_subject.as_deref()
    }
}

/// The answer of a route's code that accepts a client.
///
/// A [`Backend`] alone converts into one with `into()`.
#[derive(Debug)]
#[must_use]
pub struct Accept {
    pub(crate) destination: Destination,
    pub(crate) subject: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) settings: Option<Arc<ConnectionSettings>>,
    pub(crate) subprotocol: Option<String>,
    pub(crate) expires_at: Option<SystemTime>,
}

/// Where an accepted connection goes.
#[derive(Debug)]
pub(crate) enum Destination {
    Backend(Backend),
    Relay(Arc<Relay>),
}

impl Accept {
    /// Accepts the client and serves it with a backend.
    pub fn new(backend: Backend) -> Self {
        Self::to(Destination::Backend(backend))
    }

    /// Relays the connection to an application. The client gets its 101 after the application.
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
            expires_at: None,
        }
    }

    /// Sets who the client is, for the record and for selectors: at most 256 printable bytes.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Adds a tag, which replaces a tag of the route with the same name.
    ///
    /// Name and value have at most 256 printable bytes each; the name has no colon.
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(name.into(), value.into());
        self
    }

    /// Sets the settings of the connection, in place of the route's.
    pub fn settings(mut self, settings: ConnectionSettings) -> Self {
        self.settings = Some(Arc::new(settings.bounded()));
        self
    }

    /// Sets when the connection is closed, by the wall clock, with 3000 and cause `auth_expired`.
    ///
    /// A time that has passed refuses the client with 401.
    /// [`ConnectionHandle::set_expires_at`](crate::ConnectionHandle::set_expires_at) moves it.
    pub fn expires_at(mut self, time: SystemTime) -> Self {
        self.expires_at = Some(time);
        self
    }

    /// Selects a subprotocol in place of the route's choice; the client must have offered it.
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

/// The answer of a route's code that refuses a client.
///
/// The attempt is recorded as `open_failed`: with 401 and 403 as `unauthorized`, with 429 as
/// `refused_rate`, with another 4xx as `bad_request`, else as `backend_refused`.
///
/// Any error converts into one with `?`: the client gets 500 without a reason, and the error is
/// recorded with its causes.
#[derive(Debug, Clone)]
#[must_use]
pub struct Refuse {
    status: StatusCode,
    text: String,
    detail: Option<String>,
    headers: HeaderMap,
    /// The wait in `Retry-After`.
    wait: Option<Duration>,
}

impl Refuse {
    /// Answers with a status from 300 to 599 and a line of text, which is recorded as well; any
    /// other status becomes 500.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        let headers = HeaderMap::new();
        Self { status, text: text.into(), detail: None, headers, wait: None }
    }

    /// Answers 401: the client is not authenticated. `challenge` is the value of
    /// `WWW-Authenticate`, such as `Bearer`.
    pub fn unauthorized(challenge: &'static str, text: impl Into<String>) -> Self {
        let challenge = HeaderValue::from_static(challenge);
        Self::new(StatusCode::UNAUTHORIZED, text).header(WWW_AUTHENTICATE, challenge)
    }

    /// Answers 403: the client may not connect.
    pub fn forbidden(text: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, text)
    }

    /// Adds a header field to the answer.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Asks the client to wait before it reconnects (`Retry-After`, rounded up to seconds).
    pub fn retry_after(self, wait: Duration) -> Self {
        let refuse = self.header(RETRY_AFTER, value_of_retry_after(wait));
        Self { wait: Some(wait), ..refuse }
    }

    /// Sets what is recorded in place of the text that the client gets.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Makes the refusal of the opening handshake; a status that would not refuse becomes 500.
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

    /// Answers 500 because the route's code failed. The client does not see `detail`.
    pub(crate) fn failed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed").detail(detail)
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Refuse {
    fn from(error: E) -> Self {
        Self::failed(with_causes(&*error.into()))
    }
}

/// The code of a route, called for each request.
pub(crate) type Decide = Arc<dyn Fn(OpeningRequest) -> Deciding + Send + Sync + 'static>;

type Deciding = Pin<Box<dyn Future<Output = Result<Accept, Refuse>> + Send>>;

/// Erases the types of an embedder's function.
pub(super) fn boxed<F, Fut, A>(decide: F) -> Decide
where
    F: Fn(OpeningRequest) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<A, Refuse>> + Send + 'static,
    A: Into<Accept>,
{
    let decide = Arc::new(decide);
    Arc::new(move |request| {
        let decide = Arc::clone(&decide);
        // Called on the first poll: panics are caught there.
        Box::pin(async move {
            let deciding = decide(request);
            drop(decide);
            deciding.await.map(Into::into)
        })
    })
}

/// Calls the code of a route; a panic becomes a refusal.
pub(crate) async fn asked(decide: &Decide, request: OpeningRequest) -> Result<Accept, Refuse> {
    match catch(decide(request)).await {
        Ok(decided) => decided,
        Err(panic) => Err(Refuse::failed(format!("the route's code panicked: {panic}"))),
    }
}
