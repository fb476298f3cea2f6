//! Adopting connections that other code has opened: a stream, or the upgrade of an HTTP server.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::policy::masking::{self, Masking};
use crate::settings::{ConnectionSettings, Replace};
use crate::transport::opening_handshake::{
    self, Agreement, Refusal, RequestFacts, check_method, check_upgrade, choose_subprotocol,
};
use crate::transport::socket::{Adopted, OverSocket, SocketName, Transport};
use crate::vocabulary::{Direction, Origin, Role};

/// A connection whose opening handshake is complete, for [`Supervisor::adopt`].
///
/// [`Supervisor::adopt`]: super::Supervisor::adopt
pub struct Adopt {
    /// The byte stream after the opening handshake.
    pub transport: Box<dyn Transport>,
    /// Bytes already read from the stream after the opening handshake.
    pub read_ahead: Bytes,
    /// The role of this end.
    pub role: Role,
    /// The recorded facts about the connection.
    pub origin: Origin,
    /// The settings of the connection.
    pub settings: ConnectionSettings,
    /// What becomes of another connection with the same subject and route in its `origin`.
    pub replace: Replace,
}

impl Adopt {
    /// Adopts a transport with default settings.
    pub fn new(role: Role, transport: impl Transport) -> Self {
        let direction = match role {
            Role::Server => Direction::Inbound,
            Role::Client => Direction::Outbound,
        };
        Self {
            transport: Box::new(transport),
            read_ahead: Bytes::new(),
            role,
            origin: Origin::new(direction),
            settings: ConnectionSettings::default(),
            replace: Replace::None,
        }
    }

    /// Adopts any byte stream, such as an upgraded HTTP connection.
    pub fn stream<S>(role: Role, stream: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Self::new(role, Adopted(stream))
    }

    /// Sets the peer's address for the record.
    #[must_use]
    pub fn peer(mut self, peer: SocketAddr) -> Self {
        self.origin.peer = Some(SocketName::tcp(peer).to_string());
        self
    }

    /// Sets the TCP socket under the stream, by any of its descriptors; it is held as long as the
    /// stream.
    ///
    /// With it, the record has the addresses and the kernel's TCP_INFO (`tcp`), an abort sends a
    /// reset, and a hung peer can be distinguished from a lost network by its TCP acknowledgements.
    /// Without it, an abort sends a FIN, and `tcp` is null.
    #[must_use]
    pub fn socket(mut self, socket: impl AsFd + Unpin + Send + 'static) -> Self {
        let name = |address: io::Result<socket2::SockAddr>| {
            Some(SocketName::tcp(address.ok()?.as_socket()?).to_string())
        };
        let known = SockRef::from(&socket);
        self.origin.peer = name(known.peer_addr()).or(self.origin.peer);
        self.origin.local_addr = name(known.local_addr()).or(self.origin.local_addr);
        self.transport = Box::new(OverSocket { stream: self.transport, socket });
        self
    }

    /// Sets the settings of the connection.
    #[must_use]
    pub fn settings(mut self, settings: ConnectionSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets who the peer is, for the record and for selectors.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.origin.subject = Some(subject.into());
        self
    }

    /// Adds a tag, for the record and for selectors.
    #[must_use]
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.origin.tags.insert(name.into(), value.into());
        self
    }
}

impl fmt::Debug for Adopt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adopt")
            .field("role", &self.role)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// A WebSocket upgrade request that another HTTP server has received, such as axum or hyper.
///
/// [`Upgrade::of`] checks the request (RFC 6455 section 4.2.1), [`Upgrade::response`] answers it, and
/// [`Upgrade::adopt`] takes the upgraded stream. The caller checks `Origin` and credentials.
///
/// ```
/// use http::{Request, Response};
/// use hyper_util::rt::TokioIo;
/// use lastword::{Backend, Supervisor, Upgrade};
///
/// /// A service of hyper, with `with_upgrades()`.
/// async fn serve(
///     supervisor: Supervisor,
///     mut request: Request<hyper::body::Incoming>,
/// ) -> Response<String> {
///     let upgrade = match Upgrade::of(&request) {
///         Ok(upgrade) => upgrade.subprotocol(&["v1.chat"]),
///         Err(refused) => return refused.response(),
///     };
///     let response = upgrade.response();
///     let upgraded = hyper::upgrade::on(&mut request);
///     tokio::spawn(async move {
///         // It fails if the client disconnects before the 101 is written.
///         if let Ok(upgraded) = upgraded.await {
///             let adopt = upgrade.adopt(TokioIo::new(upgraded));
///             // It fails after a shutdown.
///             let _ = supervisor.adopt(adopt, Backend::echo()).await;
///         }
///     });
///     response
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Upgrade {
    agreement: Agreement,
    facts: RequestFacts,
    subprotocol: Option<String>,
}

/// A request that is not a valid WebSocket upgrade, with the answer to send.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub struct UpgradeRefused {
    status: StatusCode,
    text: String,
    headers: Vec<(&'static str, HeaderValue)>,
}

impl From<Refusal> for UpgradeRefused {
    fn from(refusal: Refusal) -> Self {
        let Refusal { status, text, headers, .. } = refusal;
        Self { status, text, headers }
    }
}

impl Upgrade {
    /// Checks a request.
    ///
    /// # Errors
    /// The request is not a valid upgrade; the answer is 400, 405 or 426.
    pub fn of<B>(request: &Request<B>) -> Result<Self, UpgradeRefused> {
        let (parts, ()) = request_without_body(request).into_parts();
        let request = opening_handshake::Request::new(parts);
        check_method(&request)?;
        let accept = check_upgrade(&request)?;
        let agreement = Agreement::new(accept);
        Ok(Self { agreement, facts: request.facts(), subprotocol: None })
    }

    /// Selects the first of these subprotocols that the client offers.
    #[must_use]
    pub fn subprotocol(mut self, supported: &[&str]) -> Self {
        let supported: Vec<String> = supported.iter().map(ToString::to_string).collect();
        let agreed = choose_subprotocol(&self.facts.subprotocols, &supported);
        self.subprotocol = agreed.clone().map(String::from);
        self.agreement = self.agreement.subprotocol(agreed);
        self
    }

    /// Returns the selected subprotocol.
    pub fn agreed_subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Returns the answer: 101 with `Sec-WebSocket-Accept`.
    pub fn response<B: Default>(&self) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = self.agreement.headers();
        response
    }

    /// Makes an [`Adopt`] from the stream, once the answer was sent, for [`Supervisor::adopt`].
    ///
    /// Path, host, `User-Agent` and trace context of the request are recorded; query values are
    /// masked.
    ///
    /// [`Supervisor::adopt`]: super::Supervisor::adopt
    pub fn adopt<S>(self, stream: S) -> Adopt
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut adopt = Adopt::stream(Role::Server, stream);
        let text = |text: Option<String>| text.as_deref().map(masking::record_text);
        let origin = &mut adopt.origin;
        origin.path = Some(masking::record_path(&self.facts.target, Masking::Mask, &[]));
        origin.host = text(self.facts.host);
        origin.user_agent = text(self.facts.user_agent);
        origin.traceparent = text(self.facts.traceparent);
        origin.subprotocol = self.subprotocol;
        adopt
    }
}

impl UpgradeRefused {
    /// Returns the answer: the error as plain text, with the header fields that the status
    /// requires.
    pub fn response<B: From<String>>(&self) -> Response<B> {
        let mut response = Response::new(B::from(format!("{}\n", self.text)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(http::header::CONTENT_TYPE, plain);
        for (name, value) in &self.headers {
            // The names are constants of this crate, so this cannot fail.
            if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
                headers.append(name, value.clone());
            }
        }
        response
    }
}

fn request_without_body<B>(request: &Request<B>) -> Request<()> {
    let mut copy = Request::new(());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}
