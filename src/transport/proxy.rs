//! Connecting through an HTTP proxy with CONNECT (RFC 9110 section 9.3.6).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::opening_handshake::retry_after;
use crate::protocol::url::{Scheme, Url, UrlProblem};
use crate::vocabulary::{OpenFailure, Secret};

/// How large the head of a proxy's answer may be.
const MAX_ANSWER: usize = 16 * 1024;

/// An HTTP proxy: `http://host[:port]`, without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyUrl {
    host: String,
    port: u16,
}

/// A string that is not the URL of a proxy. The error does not repeat it, because it may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidProxyUrl {
    /// It is malformed, for this reason.
    #[error("the proxy cannot be used: {0}; write http://host:port")]
    Malformed(UrlProblem),
    /// It has a path or a query.
    #[error("the proxy cannot be used: its URL must not have a path; write http://host:port")]
    Path,
}

/// A failed attempt to connect through a proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{failure}: {detail}")]
pub struct FailedProxy {
    /// The failure: `unauthorized` if it wants credentials, else `connect_refused`,
    /// `connect_timeout` or `peer_gone`.
    pub failure: OpenFailure,
    /// Its `Retry-After`.
    pub retry_after: Option<Duration>,
    /// One sentence for people.
    pub detail: String,
}

impl ProxyUrl {
    /// Returns the host, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port; 80 where the URL has none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Asks the proxy on the other end of `socket` to connect to `host`:`port`.
    ///
    /// `credentials` are `user:password`.
    ///
    /// # Errors
    /// [`FailedProxy`]: it refused, or did not answer by the deadline.
    ///
    /// # Cancel safety
    /// Dropping the future drops the socket.
    pub async fn connect(
        &self,
        socket: TcpStream,
        (host, port): (&str, u16),
        credentials: Option<&Secret>,
        deadline: Instant,
    ) -> Result<TcpStream, FailedProxy> {
        let target = authority(host, port);
        let mut request = Request::connect(&target).header(header::HOST, &target);
        if let Some(credentials) = credentials {
            let basic = format!("Basic {}", STANDARD.encode(credentials.expose()));
            request = request.header(header::PROXY_AUTHORIZATION, basic);
        }
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(|error| self.failed(OpenFailure::BadRequest, &error.to_string()))?;
        match timeout_at(deadline, self.exchange(socket, request)).await {
            Ok(connected) => connected,
            Err(_) => Err(self.failed(OpenFailure::ConnectTimeout, "did not answer in time")),
        }
    }

    async fn exchange(
        &self,
        socket: TcpStream,
        request: Request<Empty<Bytes>>,
    ) -> Result<TcpStream, FailedProxy> {
        let gone = |error: hyper::Error| {
            self.failed(
                OpenFailure::PeerGone,
                &format!("closed the connection without a complete answer ({error})"),
            )
        };
        let (mut sender, http) = http1::Builder::new()
            .max_header_size(MAX_ANSWER)
            .max_buf_size(MAX_ANSWER)
            .handshake(TokioIo::new(socket))
            .await
            .map_err(gone)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(gone)?;
            if !response.status().is_success() {
                return Err(self.refused(response.status(), retry_after(response.headers())));
            }
            hyper::upgrade::on(response).await.map_err(gone)
        };
        let mut http = std::pin::pin!(http.with_upgrades());
        let mut answer = std::pin::pin!(answer);
        let upgraded = tokio::select! {
            answered = &mut answer => answered?,
            // The driver has finished; the answer has its result.
            _ = &mut http => answer.await?,
        };
        match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) if parts.read_buf.is_empty() => Ok(parts.io.into_inner()),
            // In TLS and in HTTP the client sends first.
            Ok(_) | Err(_) => {
                Err(self.failed(OpenFailure::PeerGone, "sent data before the client did"))
            }
        }
    }

    fn refused(&self, status: StatusCode, retry_after: Option<Duration>) -> FailedProxy {
        let failed = match status {
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => self.failed(
                OpenFailure::Unauthorized,
                &format!("answered {status}: give it the right proxy_credentials"),
            ),
            status => self.failed(OpenFailure::ConnectRefused, &format!("answered {status}")),
        };
        FailedProxy { retry_after, ..failed }
    }

    fn failed(&self, failure: OpenFailure, what: &str) -> FailedProxy {
        FailedProxy { failure, retry_after: None, detail: format!("the proxy {self} {what}") }
    }
}

impl FromStr for ProxyUrl {
    type Err = InvalidProxyUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text, &[Scheme::Http]).map_err(InvalidProxyUrl::Malformed)?;
        if url.target() != "/" {
            return Err(InvalidProxyUrl::Path);
        }
        Ok(Self { host: url.host().to_owned(), port: url.port() })
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", authority(&self.host, self.port))
    }
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_hosts_with_ports() {
        for (text, shown) in [
            ("http://proxy:3128", "http://proxy:3128"),
            ("http://proxy", "http://proxy:80"),
            ("http://[::1]:3128/", "http://[::1]:3128"),
        ] {
            assert_eq!(text.parse::<ProxyUrl>().unwrap().to_string(), shown);
        }
        for text in [
            "",
            "proxy:3128",
            "https://proxy:3128",
            "socks5://proxy:1080",
            "http://user:secret@proxy:3128",
            "http://proxy:3128/path",
            "http://proxy:0",
            "http://proxy:99999",
        ] {
            let error = text.parse::<ProxyUrl>().unwrap_err();
            assert!(!error.to_string().contains("secret"), "{text}");
        }
    }
}
