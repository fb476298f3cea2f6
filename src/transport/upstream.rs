//! Connects to an application over TCP, TLS or a Unix socket.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};

use super::connect::{ConnectFacts, ConnectOptions, FailedConnect, connect};
use super::dial::{InvalidUrl, WsUrl};
use super::opening_handshake::ClientRequest;
use super::socket::Transport;
use super::tls::Trust;
use crate::vocabulary::OpenFailure;

/// The address of an application.
#[derive(Debug)]
pub enum Upstream {
    /// `ws://host:port[/path]` or `wss://…`, and the authorities whose certificates are accepted.
    Url(WsUrl, Trust),
    /// `ws+unix:/path/to.sock`.
    Unix(PathBuf),
}

impl Upstream {
    /// Parses `ws://…`, `wss://…` or `ws+unix:/path/to.sock`.
    ///
    /// # Errors
    /// The text is not such a URL.
    pub fn new(text: &str, trust: Trust) -> Result<Self, InvalidUrl> {
        match text.strip_prefix("ws+unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            Some(_) => Err(InvalidUrl::SocketPath),
            None => Ok(Self::Url(text.parse()?, trust)),
        }
    }

    /// Makes the request for a client's target, unless the URL of the application has a path itself.
    /// `host` is the client's `Host`, if that is to be preserved.
    pub fn request(&self, target: PathAndQuery, host: Option<HeaderValue>) -> ClientRequest {
        match self {
            Self::Url(url, _) => {
                let own = url.target().as_str() != "/";
                let target = if own { url.target().clone() } else { target };
                match host {
                    Some(host) => ClientRequest::new(host, target),
                    None => url.request_for(target),
                }
            }
            Self::Unix(_) => ClientRequest::new(host.unwrap_or_else(|| self.authority()), target),
        }
    }

    /// Returns its value for the `Host` header.
    pub fn authority(&self) -> HeaderValue {
        match self {
            Self::Url(url, _) => url.authority().clone(),
            Self::Unix(_) => HeaderValue::from_static("localhost"),
        }
    }
}

/// A stream to an application.
pub struct Connected {
    /// Ready for the opening handshake, or for plain HTTP.
    pub transport: Box<dyn Transport>,
    /// The address that answered.
    pub addr: Option<String>,
    /// The address of this end.
    pub local_addr: Option<String>,
    /// How long it took, TLS included.
    pub connect: Option<Duration>,
    /// The TLS version.
    pub tls: Option<&'static str>,
}

/// Timeouts and the source address for connecting to an application.
#[derive(Debug, Clone, Copy)]
pub struct UpstreamOptions {
    /// How long name resolution and TCP, or the Unix socket, may take.
    pub connect_timeout: Duration,
    /// How long TLS may take.
    pub tls_timeout: Duration,
    /// The source address; `None` lets the kernel choose.
    pub source: Option<IpAddr>,
}

impl Upstream {
    /// Connects to the application.
    ///
    /// # Errors
    /// As [`connect`]; through a Unix socket `connect_refused` or `connect_timeout`.
    ///
    /// # Cancel safety
    /// Dropping the future drops the attempt.
    pub async fn connect(&self, options: UpstreamOptions) -> Result<Connected, FailedConnect> {
        let UpstreamOptions { connect_timeout, tls_timeout: handshake_timeout, source } = options;
        match self {
            Self::Url(url, trust) => {
                let mut facts = ConnectFacts::default();
                let options = ConnectOptions {
                    url: url.url(),
                    trust,
                    proxy: None,
                    source,
                    connect_timeout,
                    handshake_timeout,
                };
                let transport = connect(options, &mut facts).await?;
                Ok(Connected {
                    transport,
                    addr: facts.addr.map(|addr| addr.to_string()),
                    local_addr: facts.local_addr.map(|addr| addr.to_string()),
                    connect: facts.connect,
                    tls: facts.tls,
                })
            }
            Self::Unix(path) => {
                let (began, addr) = (Instant::now(), format!("unix:{}", path.display()));
                let failed = |failure, why: String| {
                    FailedConnect::before_tcp(failure, format!("cannot connect to {addr}: {why}"))
                };
                match timeout(connect_timeout, UnixStream::connect(path)).await {
                    Ok(Ok(socket)) => Ok(Connected {
                        connect: Some(began.elapsed()),
                        transport: Box::new(socket),
                        addr: Some(addr),
                        local_addr: Some("unix:".to_owned()),
                        tls: None,
                    }),
                    Ok(Err(error)) => Err(failed(OpenFailure::ConnectRefused, error.to_string())),
                    Err(_) => {
                        Err(failed(OpenFailure::ConnectTimeout, "no answer in time".to_owned()))
                    }
                }
            }
        }
    }
}
