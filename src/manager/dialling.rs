//! Dials one URL: an outbound connection like any other.

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

/// Dials a URL, as set up; [`Dial::receive`], [`Dial::reply`] or [`Dial::open`] does it.
#[must_use]
pub struct Dial {
    inner: Arc<Inner>,
    target: Target,
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

impl Supervisor {
    /// Dials a `ws://` or `wss://` URL, once; see [`Dial`].
    pub fn dial(&self, url: &str) -> Dial {
        Dial::new(Arc::clone(&self.inner), url)
    }
}

impl Dial {
    pub(super) fn new(inner: Arc<Inner>, url: &str) -> Self {
        Self { inner, target: Target::new(url) }
    }

    /// Adds a header line to the request, such as `Authorization`; it is never recorded.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.target.headers.append(name, value);
        self
    }

    /// Offers a subprotocol, after those that were offered before.
    pub fn subprotocol(mut self, name: &str) -> Self {
        self.target.subprotocols.push(name.to_owned());
        self
    }

    /// Sets what holds for the connection; `limits.handshake_timeout` for its opening, too. By default
    /// it is what holds for a dialer: a message of the peer may have 16 MiB.
    pub fn settings(mut self, settings: ConnectionSettings) -> Self {
        self.target.settings = Arc::new(settings.bounded());
        self
    }

    /// Labels the connection.
    pub fn tag(mut self, name: &str, value: &str) -> Self {
        self.target.tags.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Trusts, for `wss://`, the authorities in a PEM file and nobody else; by default those of the
    /// machine.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.target.trust = Trust::file(path);
        self
    }

    /// Goes through an HTTP proxy (CONNECT), `http://host:port`, which also resolves the name.
    ///
    /// The record then has the proxy's address as the peer's.
    pub fn proxy(mut self, url: &str) -> Self {
        self.target.proxy = Some(url.to_owned());
        self
    }

    /// Sets the `user:password` that the proxy wants.
    pub fn proxy_credentials(mut self, credentials: SecretSource) -> Self {
        self.target.proxy_credentials = Some(credentials);
        self
    }

    /// Bounds how long TCP may take; by default 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.target.connect_timeout = timeout;
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
        if self.inner.node.is_shut() {
            return Err(ShutDown.into());
        }
        let connected = self.target.connect(&self.inner.node, backend.name()).await;
        let connected = connected.map_err(DialError::Failed)?;
        Ok(connected.adopt(&self.inner.node, backend, &[]).await?)
    }

    /// Asks an application, then dials, and passes frames between the two.
    ///
    /// The application goes first, and what it chooses of the subprotocols is what is then offered.
    ///
    /// # Errors
    /// As [`Dial::open`]; with `backend_unreachable` or `backend_refused` it was the application.
    ///
    /// # Cancel safety
    /// A dropped future gives the attempt up.
    #[cfg(feature = "relay")]
    pub async fn relay(mut self, relay: &Arc<Relay>) -> Result<ConnectionHandle, DialError> {
        self.target.relay = Some(Arc::clone(relay));
        self.open(relay.backend()).await
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
}
