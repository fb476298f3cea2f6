//! Dials one URL: an outbound connection like any other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::ConnectionSettings;
use crate::contract::masking;
use crate::protocol::closing_handshake::ReplyPolicy;
use crate::supervision::{
    Adoption, Attempt, Backend, ConnectionHandle, Core, Receiver, ShutDown, masking_of,
};
use crate::transport::dial::{self, WsUrl};
use crate::transport::opening_handshake::{self, Opened, Subprotocol};
use crate::transport::shared_tcp::SharedTcp;
use crate::vocabulary::{Direction, Ending, OpenFailure, Origin, Role, TransportEnd, Upstream};
use tokio::net::TcpStream;

/// How long TCP may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Dials a URL, as set up; [`Dial::receive`], [`Dial::reply`] or [`Dial::open`] does it.
#[must_use]
pub struct Dial {
    core: Arc<Core>,
    url: String,
    headers: HeaderMap,
    subprotocols: Vec<String>,
    settings: ConnectionSettings,
    tags: BTreeMap<String, String>,
}

/// Tells why a URL could not be dialled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The attempt failed; its record says how.
    #[error("{}", .0.outcome.detail)]
    Failed(Arc<Ending>),
    /// The supervisor was shut down.
    #[error(transparent)]
    ShutDown(#[from] ShutDown),
}

impl Dial {
    pub(super) fn new(core: Arc<Core>, url: &str) -> Self {
        Self {
            core,
            url: url.to_owned(),
            headers: HeaderMap::new(),
            subprotocols: Vec::new(),
            settings: ConnectionSettings::default(),
            tags: BTreeMap::new(),
        }
    }

    /// Adds a header line to the request, such as `Authorization`; it is never recorded.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Offers a subprotocol, after those that were offered before.
    pub fn subprotocol(mut self, name: &str) -> Self {
        self.subprotocols.push(name.to_owned());
        self
    }

    /// Sets what holds for the connection; `limits.handshake_timeout` for its opening, too.
    pub fn settings(mut self, settings: ConnectionSettings) -> Self {
        self.settings = settings.bounded();
        self
    }

    /// Labels the connection.
    pub fn tag(mut self, name: &str, value: &str) -> Self {
        self.tags.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Dials, with a backend for the messages.
    ///
    /// # Errors
    /// [`DialError::Failed`] with the recorded attempt.
    ///
    /// # Cancel safety
    /// A dropped future gives the attempt up.
    pub async fn open(self, backend: Backend) -> Result<ConnectionHandle, DialError> {
        let began = SystemTime::now();
        let mut origin = self.origin(backend.name());
        let opened = match self.connect(&mut origin).await {
            Ok(opened) => opened,
            Err(failure) => return Err(self.failed(origin, began, failure).await),
        };
        origin.subprotocol = opened.subprotocol.map(String::from);
        let adoption = Adoption {
            transport: Box::new(SharedTcp::from(opened.socket)),
            read_ahead: opened.read_ahead,
            role: Role::Client,
            origin: Arc::new(origin),
            settings: Arc::new(self.settings),
            backend,
            place: None,
        };
        Ok(self.core.adopt(adoption).await?)
    }

    /// Dials; messages are taken from a [`Receiver`], and the peer's Close is answered in kind.
    ///
    /// # Errors
    /// As [`Dial::open`].
    pub async fn receive(self) -> Result<(ConnectionHandle, Receiver), DialError> {
        let connection = self.open(Backend::receiver(ReplyPolicy::AtOnce)).await?;
        let receiver = Receiver::of(&connection);
        Ok((connection, receiver))
    }

    /// Dials; messages are taken from a [`Receiver`], and the peer's Close is answered by
    /// [`ConnectionHandle::close_output`], within `close.timeout`.
    ///
    /// # Errors
    /// As [`Dial::open`].
    pub async fn reply(self) -> Result<(ConnectionHandle, Receiver), DialError> {
        let connection = self.open(Backend::receiver(ReplyPolicy::Chosen)).await?;
        let receiver = Receiver::of(&connection);
        Ok((connection, receiver))
    }

    async fn connect(&self, origin: &mut Origin) -> Result<Opened<TcpStream>, Failure> {
        if self.core.is_draining() {
            return Err(Failure::before_tcp(OpenFailure::RefusedDraining, "this end is draining"));
        }
        let url: WsUrl = self.url.parse().map_err(|error: dial::InvalidUrl| {
            Failure::before_tcp(error.failure(), &error.to_string())
        })?;
        let dialled = dial::dial(&url, CONNECT_TIMEOUT)
            .await
            .map_err(|failed| Failure::before_tcp(failed.failure, &failed.detail))?;
        origin.peer = Some(dialled.addr.to_string());
        origin.local_addr = dialled.socket.local_addr().ok().map(|addr| addr.to_string());
        if let Some(upstream) = &mut origin.upstream {
            upstream.addr = Some(dialled.addr.to_string());
            upstream.connect = Some(dialled.connect);
        }
        let bad_request = |what: String| Failure::before_tcp(OpenFailure::BadRequest, &what);
        let subprotocols: Vec<Subprotocol> = self
            .subprotocols
            .iter()
            .map(|name| {
                name.parse().map_err(|_| bad_request(format!("{name:?} is no subprotocol")))
            })
            .collect::<Result<_, _>>()?;
        let request = url
            .request()
            .with_headers(self.headers.clone())
            .map_err(|error| bad_request(error.to_string()))?
            .with_subprotocols(subprotocols);
        let timeout = self.settings.limits.handshake_timeout;
        let opened = opening_handshake::open(dialled.socket, request, timeout).await;
        let status = match &opened {
            Ok(opened) => Some(opened.status),
            Err(failed) => failed.status,
        };
        if let Some(upstream) = &mut origin.upstream {
            upstream.status = status;
        }
        opened.map_err(|failed| Failure {
            failure: failed.failure,
            transport_end: Some(failed.transport_end),
            detail: failed.detail,
        })
    }

    fn origin(&self, backend: &str) -> Origin {
        let records = self.core.records();
        let url = masking::record_url(&self.url, masking_of(records), &records.query_keep);
        let mut origin = Origin::new(Direction::Outbound);
        if let Ok(uri) = url.parse::<http::Uri>() {
            origin.host = uri.authority().map(ToString::to_string);
            origin.path = uri.path_and_query().map(ToString::to_string);
        }
        origin.backend = Some(backend.to_owned());
        origin.tags = self.tags.clone();
        origin.upstream = Some(Upstream { url, addr: None, connect: None, status: None });
        origin
    }

    async fn failed(&self, origin: Origin, began: SystemTime, failure: Failure) -> DialError {
        let Failure { failure, transport_end, detail } = failure;
        let attempt = Attempt { origin, began, failure, transport_end, limit: None, detail };
        DialError::Failed(self.core.record_attempt(attempt).await)
    }
}

/// Why dialling failed.
struct Failure {
    failure: OpenFailure,
    transport_end: Option<TransportEnd>,
    detail: String,
}

impl Failure {
    fn before_tcp(failure: OpenFailure, detail: &str) -> Self {
        Self { failure, transport_end: None, detail: detail.to_owned() }
    }
}
