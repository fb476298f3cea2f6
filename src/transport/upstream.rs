//! Connects to an application: over TCP, or through a Unix socket.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};

use super::dial::{FailedDial, InvalidUrl, WsUrl, dial_from};
use super::opening_handshake::ClientRequest;
use super::socket::AnySocket;
use crate::vocabulary::OpenFailure;

/// An application's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    /// `ws://host:port[/path]`.
    Url(WsUrl),
    /// `ws+unix:/path/to.sock`.
    Unix(PathBuf),
}

impl Upstream {
    /// Makes the request for what a client asked for, unless the URL itself says what to ask for.
    /// `host` is the client's, if that is to be preserved.
    pub fn request(&self, target: PathAndQuery, host: Option<HeaderValue>) -> ClientRequest {
        match self {
            Self::Url(url) => {
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
}

impl Upstream {
    /// Returns its name for a `Host` line.
    pub fn authority(&self) -> HeaderValue {
        match self {
            Self::Url(url) => url.authority().clone(),
            Self::Unix(_) => HeaderValue::from_static("localhost"),
        }
    }
}

impl FromStr for Upstream {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        match text.strip_prefix("ws+unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            Some(_) => Err(InvalidUrl::Malformed("the path of its socket is not absolute")),
            None => text.parse().map(Self::Url),
        }
    }
}

/// A socket that an application accepted.
#[derive(Debug)]
pub struct Connected {
    /// The socket.
    pub socket: AnySocket,
    /// What answered.
    pub addr: String,
    /// How long the name and the connection took.
    pub connect: Duration,
}

/// Connects to an application, from this address of ours if there is one.
///
/// # Errors
///
/// As [`dial_from`]; through a Unix socket `connect_refused` or `connect_timeout`.
///
/// # Cancel safety
///
/// Dropping the future drops the attempt.
pub async fn connect(
    upstream: &Upstream,
    within: Duration,
    source: Option<IpAddr>,
) -> Result<Connected, FailedDial> {
    match upstream {
        Upstream::Url(url) => {
            let dialled = dial_from(url.host(), url.port(), within, source).await?;
            Ok(Connected {
                addr: dialled.addr.to_string(),
                connect: dialled.connect,
                socket: AnySocket::Tcp(dialled.socket),
            })
        }
        Upstream::Unix(path) => {
            let (began, addr) = (Instant::now(), format!("unix:{}", path.display()));
            let failed = |failure, why: String| FailedDial {
                failure,
                detail: format!("cannot connect to {addr}: {why}"),
            };
            match timeout(within, UnixStream::connect(path)).await {
                Ok(Ok(socket)) => Ok(Connected {
                    connect: began.elapsed(),
                    socket: AnySocket::Unix(socket),
                    addr,
                }),
                Ok(Err(error)) => Err(failed(OpenFailure::ConnectRefused, error.to_string())),
                Err(_) => Err(failed(OpenFailure::ConnectTimeout, "no answer in time".to_owned())),
            }
        }
    }
}
