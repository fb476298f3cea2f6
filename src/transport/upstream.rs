//! Connects to an application: over TCP, with TLS if its URL says so, or through a Unix socket.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};

use super::dial::{InvalidUrl, WsUrl};
use super::opening_handshake::ClientRequest;
use super::reach::{Facts, FailedReach, Way, reach};
use super::socket::Transport;
use super::tls::Trust;
use crate::vocabulary::OpenFailure;

/// An application's place.
#[derive(Debug)]
pub enum Upstream {
    /// `ws://host:port[/path]` or `wss://…`, and whose certificates it may show.
    Url(WsUrl, Trust),
    /// `ws+unix:/path/to.sock`.
    Unix(PathBuf),
}

impl Upstream {
    /// Reads `ws://…`, `wss://…` or `ws+unix:/path/to.sock`.
    ///
    /// # Errors
    /// None of these.
    pub fn new(text: &str, trust: Trust) -> Result<Self, InvalidUrl> {
        match text.strip_prefix("ws+unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            Some(_) => Err(InvalidUrl::Malformed("the path of its socket is not absolute")),
            None => Ok(Self::Url(text.parse()?, trust)),
        }
    }

    /// Makes the request for what a client asked for, unless the URL itself says what to ask for.
    /// `host` is the client's, if that is to be preserved.
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

    /// Returns its name for a `Host` line.
    pub fn authority(&self) -> HeaderValue {
        match self {
            Self::Url(url, _) => url.authority().clone(),
            Self::Unix(_) => HeaderValue::from_static("localhost"),
        }
    }
}

/// A way to an application.
pub struct Connected {
    /// Ready for the opening handshake, or for plain HTTP.
    pub transport: Box<dyn Transport>,
    /// What answered.
    pub addr: Option<String>,
    /// This end of it.
    pub local_addr: Option<String>,
    /// How long it took, TLS included.
    pub connect: Option<Duration>,
    /// The version of TLS.
    pub tls: Option<&'static str>,
}

/// How long to take for connecting, and where from.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How long the name and TCP may take, or the Unix socket.
    pub connect_timeout: Duration,
    /// How long TLS may take.
    pub tls_timeout: Duration,
    /// Our address; the kernel's choice, if there is none.
    pub source: Option<IpAddr>,
}

impl Upstream {
    /// Connects to the application.
    ///
    /// # Errors
    /// As [`reach`]; through a Unix socket `connect_refused` or `connect_timeout`.
    ///
    /// # Cancel safety
    /// Dropping the future drops the attempt.
    pub async fn connect(&self, terms: Terms) -> Result<Connected, FailedReach> {
        let Terms { connect_timeout, tls_timeout: handshake_timeout, source } = terms;
        match self {
            Self::Url(url, trust) => {
                let mut facts = Facts::default();
                let way =
                    Way { url, trust, proxy: None, source, connect_timeout, handshake_timeout };
                let transport = reach(way, &mut facts).await?;
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
                    FailedReach::before_tcp(failure, format!("cannot connect to {addr}: {why}"))
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
