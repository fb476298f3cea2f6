//! Dialling a URL once.

mod failure;
mod secrets;
mod target;
mod under_way;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::{Inner, Supervisor};
use crate::actor::backend::{Backend, Receiver};
use crate::connection::handle::ConnectionHandle;
use crate::node::ShutDown;
use crate::protocol::closing_handshake::ReplyPolicy;
#[cfg(feature = "relay")]
use crate::relay::Relay;
use crate::settings::{ConnectionSettings, SecretSource};
use crate::transport::tls::Trust;
use crate::vocabulary::Ending;

pub(super) use target::Target;

/// The options of a dial, from [`Supervisor::dial`]; [`Dial::receive`], [`Dial::reply`] or
/// [`Dial::open`] performs it.
///
/// [`Supervisor::dial`]: super::Supervisor::dial
#[must_use]
pub struct Dial {
    inner: Arc<Inner>,
    target: Target,
}

/// Why a dial failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The attempt failed and was recorded.
    #[error("{}", .0.outcome.detail)]
    Failed(Arc<Ending>),
    /// The supervisor was shut down.
    #[error(transparent)]
    ShutDown(#[from] ShutDown),
}

impl Supervisor {
    /// Prepares to dial a `ws://` or `wss://` URL once; see [`Dial`].
    pub fn dial(&self, url: &str) -> Dial {
        Dial::new(Arc::clone(&self.inner), url)
    }
}

impl Dial {
    pub(super) fn new(inner: Arc<Inner>, url: &str) -> Self {
        Self { inner, target: Target::new(url) }
    }

    /// Adds a header field to the request, such as `Authorization`; its value is never recorded.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.target.headers.append(name, value);
        self
    }

    /// Offers a subprotocol, in addition to those offered before.
    pub fn subprotocol(mut self, name: &str) -> Self {
        self.target.subprotocols.push(name.to_owned());
        self
    }

    /// Sets the settings of the connection; `limits.handshake_timeout` bounds its opening
    /// handshake.
    ///
    /// The defaults are those of a dialer: messages of the peer may have up to 16 MiB.
    pub fn settings(mut self, settings: ConnectionSettings) -> Self {
        self.target.settings = Arc::new(settings.bounded());
        self
    }

    /// Adds a tag to the connection.
    pub fn tag(mut self, name: &str, value: &str) -> Self {
        self.target.tags.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets the PEM file with the only certificate authorities to trust for `wss://`; by default
    /// those of the operating system.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.target.trust = Trust::file(path);
        self
    }

    /// Connects through an HTTP proxy (CONNECT), `http://host:port`, which also resolves the name.
    ///
    /// The proxy's address is recorded as the peer's.
    pub fn proxy(mut self, url: &str) -> Self {
        self.target.proxy = Some(url.to_owned());
        self
    }

    /// Sets the `user:password` for the proxy.
    pub fn proxy_credentials(mut self, credentials: SecretSource) -> Self {
        self.target.proxy_credentials = Some(credentials);
        self
    }

    /// Sets the time limit of connecting TCP; by default 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.target.connect_timeout = timeout;
        self
    }

    /// Dials, and serves the connection with a backend.
    ///
    /// # Errors
    /// The attempt failed, or the supervisor was shut down.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the attempt, which is recorded.
    pub async fn open(self, backend: Backend) -> Result<ConnectionHandle, DialError> {
        if self.inner.node.is_shut() {
            return Err(ShutDown.into());
        }
        let connected = self.target.connect(&self.inner.node, backend.name()).await;
        let connected = connected.map_err(DialError::Failed)?;
        Ok(connected.adopt(&self.inner.node, backend, &[]).await?)
    }

    /// Connects to an application, then dials, and relays frames between the two.
    ///
    /// The subprotocol that the application selects is the one offered to the server.
    ///
    /// # Errors
    /// As [`Dial::open`]; `backend_unreachable` and `backend_refused` are failures of the
    /// application.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the attempt, which is recorded.
    #[cfg(feature = "relay")]
    pub async fn relay(mut self, relay: &Arc<Relay>) -> Result<ConnectionHandle, DialError> {
        self.target.relay = Some(Arc::clone(relay));
        self.open(relay.backend()).await
    }

    /// Dials and returns a [`Receiver`] of the messages; the peer's Close is answered at once with
    /// the same code.
    ///
    /// # Errors
    /// As [`Dial::open`].
    pub async fn receive(self) -> Result<(ConnectionHandle, Receiver), DialError> {
        let connection = self.open(Backend::receiver(ReplyPolicy::AtOnce)).await?;
        let receiver = Receiver::of(&connection);
        Ok((connection, receiver))
    }

    /// Dials and returns a [`Receiver`] of the messages; the caller answers the peer's Close with
    /// [`ConnectionHandle::close_output`], within `close.timeout`.
    ///
    /// # Errors
    /// As [`Dial::open`].
    pub async fn reply(self) -> Result<(ConnectionHandle, Receiver), DialError> {
        let connection = self.open(Backend::receiver(ReplyPolicy::Chosen)).await?;
        let receiver = Receiver::of(&connection);
        Ok((connection, receiver))
    }
}
