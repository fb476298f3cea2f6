//! Connecting to a server: TCP, an optional HTTP proxy, and TLS for `wss://`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::dial;
use super::proxy::ProxyUrl;
use super::shared_tcp::SharedTcp;
use super::socket::Transport;
use super::tls::Trust;
use crate::protocol::url::Url;
use crate::vocabulary::{OpenFailure, Secret, TransportEnd};

/// How to connect.
#[derive(Debug)]
pub struct ConnectOptions<'a> {
    /// The server.
    pub url: &'a Url,
    /// The authorities whose certificates are accepted.
    pub trust: &'a Trust,
    /// The HTTP proxy to use, and its credentials as `user:password`.
    pub proxy: Option<(&'a ProxyUrl, Option<Secret>)>,
    /// The source address; `None` lets the kernel choose.
    pub source: Option<IpAddr>,
    /// How long TCP may take.
    pub connect_timeout: Duration,
    /// How long the proxy and TLS may take together.
    pub handshake_timeout: Duration,
}

/// What is known about a connection attempt, even if it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectFacts {
    /// The address that answered: the server's, or the proxy's.
    pub addr: Option<SocketAddr>,
    /// This end's address.
    pub local_addr: Option<SocketAddr>,
    /// How long it took, TLS included.
    pub connect: Option<Duration>,
    /// The TLS version.
    pub tls: Option<&'static str>,
}

/// Why a server could not be connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{failure}: {detail}")]
pub struct FailedConnect {
    /// The failure.
    pub failure: OpenFailure,
    /// How the transport ended, if one was opened.
    pub transport_end: Option<TransportEnd>,
    /// The `Retry-After` of a proxy.
    pub retry_after: Option<Duration>,
    /// One sentence for people.
    pub detail: String,
}

/// Connects, and returns a transport that is ready for the opening handshake.
///
/// # Errors
/// [`FailedConnect`]; `facts` hold what was known by then.
///
/// # Cancel safety
/// Dropping the future drops the attempt.
pub async fn connect(
    options: ConnectOptions<'_>,
    facts: &mut ConnectFacts,
) -> Result<Box<dyn Transport>, FailedConnect> {
    let began = Instant::now();
    let ConnectOptions { url, trust, proxy, source, connect_timeout, handshake_timeout } = options;
    // Set up TLS first, so that a mistake on this end does not dial the server.
    let tls = match url.scheme().is_secure() {
        true => Some(
            trust
                .tls()
                .await
                .map_err(|error| FailedConnect::before_tcp(OpenFailure::Tls, error.to_string()))?,
        ),
        false => None,
    };
    let (host, port) = match &proxy {
        Some((proxy, _)) => (proxy.host(), proxy.port()),
        None => (url.host(), url.port()),
    };
    let dialled = dial::dial_from(host, port, connect_timeout, source).await.map_err(|failed| {
        let detail = match &proxy {
            Some((proxy, _)) => format!("the proxy {proxy}: {}", failed.detail),
            None => failed.detail,
        };
        FailedConnect::before_tcp(failed.failure, detail)
    })?;
    facts.addr = Some(dialled.addr);
    facts.local_addr = dialled.socket.local_addr().ok();
    facts.connect = Some(began.elapsed());

    let deadline = Instant::now() + handshake_timeout;
    let mut socket = dialled.socket;
    if let Some((proxy, credentials)) = &proxy {
        let target = (url.host(), url.port());
        let connected = proxy.connect(socket, target, credentials.as_ref(), deadline).await;
        socket = connected.map_err(|failed| FailedConnect {
            failure: failed.failure,
            transport_end: Some(TransportEnd::Local),
            retry_after: failed.retry_after,
            detail: failed.detail,
        })?;
        facts.connect = Some(began.elapsed());
    }
    let Some(tls) = tls else { return Ok(Box::new(SharedTcp::from(socket))) };
    let (socket, version) = match timeout_at(deadline, tls.open(url.host(), socket)).await {
        Ok(opened) => opened.map_err(|failed| FailedConnect {
            failure: OpenFailure::Tls,
            transport_end: Some(failed.transport_end),
            retry_after: None,
            detail: failed.detail,
        })?,
        Err(_) => {
            return Err(FailedConnect {
                failure: OpenFailure::HandshakeTimeout,
                transport_end: Some(TransportEnd::Local),
                retry_after: None,
                detail: format!("the server did not open TLS within {handshake_timeout:?}"),
            });
        }
    };
    facts.connect = Some(began.elapsed());
    facts.tls = Some(version);
    Ok(socket)
}

impl FailedConnect {
    pub(crate) fn before_tcp(failure: OpenFailure, detail: String) -> Self {
        Self { failure, transport_end: None, retry_after: None, detail }
    }
}
