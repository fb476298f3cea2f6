//! The way to a server: TCP, through a proxy if there is one, and TLS if the URL says so.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::dial::{self, WsUrl};
use super::proxy::ProxyUrl;
use super::shared_tcp::SharedTcp;
use super::socket::Transport;
use super::tls::Trust;
use crate::vocabulary::{OpenFailure, Secret, TransportEnd};

/// Which way to go.
#[derive(Debug)]
pub struct Way<'a> {
    /// The server.
    pub url: &'a WsUrl,
    /// Whose certificates it may show.
    pub trust: &'a Trust,
    /// The proxy on the way, and `user:password` for it.
    pub proxy: Option<(&'a ProxyUrl, Option<Secret>)>,
    /// Our address; the kernel's choice, if there is none.
    pub source: Option<IpAddr>,
    /// How long TCP may take.
    pub connect_timeout: Duration,
    /// By when the proxy must have answered and TLS be open.
    pub handshake_timeout: Duration,
}

/// What is known of a way, also of one that led nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// The address that answered: the server's, or the proxy's.
    pub addr: Option<SocketAddr>,
    /// This end's address.
    pub local_addr: Option<SocketAddr>,
    /// How long it took, TLS included.
    pub connect: Option<Duration>,
    /// The version of TLS.
    pub tls: Option<&'static str>,
}

/// Why a way led nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{failure}: {detail}")]
pub struct FailedReach {
    /// Why.
    pub failure: OpenFailure,
    /// How the transport ended, if there was one.
    pub transport_end: Option<TransportEnd>,
    /// How long to wait, as a proxy asked.
    pub retry_after: Option<Duration>,
    /// One plain sentence for a person.
    pub detail: String,
}

/// Goes it: the transport is ready for the opening handshake.
///
/// # Errors
/// [`FailedReach`]; `facts` have what was found out until then.
///
/// # Cancel safety
/// Dropping the future drops the attempt.
pub async fn reach(way: Way<'_>, facts: &mut Facts) -> Result<Box<dyn Transport>, FailedReach> {
    let began = Instant::now();
    let Way { url, trust, proxy, source, connect_timeout, handshake_timeout } = way;
    // Before anything is dialled: what is wrong on this end bothers nobody else.
    let tls = match url.is_secure() {
        true => Some(
            trust
                .tls()
                .await
                .map_err(|error| FailedReach::before_tcp(OpenFailure::Tls, error.to_string()))?,
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
        FailedReach::before_tcp(failed.failure, detail)
    })?;
    facts.addr = Some(dialled.addr);
    facts.local_addr = dialled.socket.local_addr().ok();
    facts.connect = Some(began.elapsed());

    let deadline = Instant::now() + handshake_timeout;
    let mut socket = dialled.socket;
    if let Some((proxy, credentials)) = &proxy {
        let target = (url.host(), url.port());
        let connected = proxy.connect(socket, target, credentials.as_ref(), deadline).await;
        socket = connected.map_err(|failed| FailedReach {
            failure: failed.failure,
            transport_end: Some(TransportEnd::Local),
            retry_after: failed.retry_after,
            detail: failed.detail,
        })?;
        facts.connect = Some(began.elapsed());
    }
    let Some(tls) = tls else { return Ok(Box::new(SharedTcp::from(socket))) };
    let opened = match timeout_at(deadline, tls.connect(url.host(), socket)).await {
        Ok(opened) => opened.map_err(|failed| FailedReach {
            failure: OpenFailure::Tls,
            transport_end: Some(failed.transport_end),
            retry_after: None,
            detail: failed.detail,
        })?,
        Err(_) => {
            return Err(FailedReach {
                failure: OpenFailure::HandshakeTimeout,
                transport_end: Some(TransportEnd::Local),
                retry_after: None,
                detail: format!("the server did not open TLS within {handshake_timeout:?}"),
            });
        }
    };
    facts.connect = Some(began.elapsed());
    facts.tls = Some(opened.version());
    Ok(Box::new(opened))
}

impl FailedReach {
    pub(crate) fn before_tcp(failure: OpenFailure, detail: String) -> Self {
        Self { failure, transport_end: None, retry_after: None, detail }
    }
}
