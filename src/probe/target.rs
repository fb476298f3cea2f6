//! Where the server is, and how to reach it.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::seen::{End, Opening};
use crate::policy::masking::{Masking, record_location, record_text, record_url};
use crate::protocol::header_names::{is_reserved, is_token};
use crate::protocol::url::{Scheme, Url, UrlProblem};
use crate::transport::connect::{ConnectFacts, ConnectOptions, connect};
use crate::transport::proxy::{InvalidProxyUrl, ProxyUrl};
use crate::transport::socket::Transport;
use crate::transport::tls::Trust;
use crate::vocabulary::Secret;

/// How to reach a server, as a user gives it.
#[derive(Debug, Clone, Default)]
pub struct TargetOptions {
    /// `ws://`, `wss://`, `http://` or `https://`, or `unix:/path/to.sock[:/path]`.
    pub url: String,
    /// Accept any certificate.
    pub insecure: bool,
    /// Accept only certificates of the authorities in this file.
    pub ca_file: Option<PathBuf>,
    /// The HTTP proxy to go through.
    pub proxy: Option<String>,
    /// Its credentials, `user:password`.
    pub proxy_credentials: Option<Secret>,
    /// More headers of each request.
    pub headers: Vec<(String, String)>,
    /// The subprotocols to offer.
    pub subprotocols: Vec<String>,
}

/// A server to probe.
#[derive(Debug)]
pub struct Target {
    place: Place,
    /// Its URL without secrets.
    shown: String,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) subprotocols: Vec<String>,
}

#[derive(Debug)]
enum Place {
    Url { url: Box<Url>, trust: Trust, proxy: Option<(ProxyUrl, Option<Secret>)> },
    Unix(PathBuf),
}

/// Why a target cannot be probed. The messages hold no values of headers, which may be secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadTarget {
    /// The URL cannot be dialled.
    #[error(
        "the URL cannot be probed: {0}; write ws://host:port/path, wss://… or unix:/path/to.sock"
    )]
    Url(UrlProblem),
    /// The path of a Unix socket is not absolute.
    #[error(
        "write the absolute path of the socket after unix:, and behind it :/path if one is needed"
    )]
    Socket,
    /// The proxy cannot be used.
    #[error("{0}")]
    Proxy(InvalidProxyUrl),
    /// A Unix socket is not reached through a proxy.
    #[error("a Unix socket is not reached through a proxy: remove --proxy")]
    ProxyToSocket,
    /// A header is malformed.
    #[error("a header cannot be sent: write it as 'NAME: VALUE', in ASCII")]
    Header,
    /// A header belongs to the opening handshake.
    #[error("the probe sets the header {0} itself: remove it (--subprotocol offers subprotocols)")]
    OurHeader(String),
    /// A subprotocol is not a token.
    #[error(
        "{0:?} is not a subprotocol: spaces, commas and other separators are not allowed (RFC 6455 section 4.1)"
    )]
    Subprotocol(String),
}

/// Why a server was not reached, in one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(pub String);

impl Target {
    /// Checks what the user gave.
    ///
    /// # Errors
    /// [`BadTarget`].
    pub fn new(options: TargetOptions) -> Result<Self, BadTarget> {
        let TargetOptions {
            url,
            insecure,
            ca_file,
            proxy,
            proxy_credentials,
            headers,
            subprotocols,
        } = options;
        for (name, value) in &headers {
            let known = HeaderName::try_from(name.as_str()).map_err(|_| BadTarget::Header)?;
            HeaderValue::try_from(value.as_str()).map_err(|_| BadTarget::Header)?;
            if is_reserved(known.as_str()) && known != http::header::HOST {
                return Err(BadTarget::OurHeader(known.to_string()));
            }
        }
        if let Some(bad) = subprotocols.iter().find(|name| !is_token(name)) {
            return Err(BadTarget::Subprotocol(record_text(bad)));
        }
        let proxy =
            proxy.map(|url| url.parse::<ProxyUrl>()).transpose().map_err(BadTarget::Proxy)?;
        let proxy = proxy.map(|proxy| (proxy, proxy_credentials));
        let socket = url.strip_prefix("ws+unix:").or_else(|| url.strip_prefix("unix:"));
        if let Some(socket) = socket {
            let (file, path) = socket.split_once(":/").unwrap_or((socket, ""));
            if !file.starts_with('/') {
                return Err(BadTarget::Socket);
            }
            if proxy.is_some() {
                return Err(BadTarget::ProxyToSocket);
            }
            let place = Place::Unix(PathBuf::from(file));
            let (shown, path) = (record_url(&url, Masking::Mask, &[]), format!("/{path}"));
            let target = path.parse::<http::uri::PathAndQuery>();
            let path = target.map_err(|_| BadTarget::Url(UrlProblem::Malformed))?.to_string();
            return Ok(Self {
                place,
                shown,
                host: "localhost".to_owned(),
                path,
                headers,
                subprotocols,
            });
        }
        let allowed = [Scheme::Ws, Scheme::Wss, Scheme::Http, Scheme::Https];
        let url = Url::parse(&url, &allowed).map_err(BadTarget::Url)?;
        let trust = if insecure { Trust::Anything } else { Trust::of(ca_file.as_deref()) };
        Ok(Self {
            shown: record_url(url.as_str(), Masking::Mask, &[]),
            host: url.authority().to_str().unwrap_or_default().to_owned(),
            path: url.target().to_string(),
            place: Place::Url { url: Box::new(url), trust, proxy },
            headers,
            subprotocols,
        })
    }

    /// Returns the URL without secrets, safe to print.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Returns whether TLS is spoken.
    pub fn is_secure(&self) -> bool {
        match &self.place {
            Place::Url { url, .. } => url.scheme().is_secure(),
            Place::Unix(_) => false,
        }
    }

    /// Opens TCP, and TLS if it is spoken.
    ///
    /// # Errors
    /// One sentence.
    ///
    /// # Cancel safety
    /// Dropping the future drops the attempt.
    pub(super) async fn connect(&self, wait: Duration) -> Result<Box<dyn Transport>, String> {
        match &self.place {
            Place::Url { url, trust, proxy } => {
                let options = ConnectOptions {
                    url,
                    trust,
                    proxy: proxy.as_ref().map(|(proxy, secret)| (proxy, secret.clone())),
                    source: None,
                    connect_timeout: wait,
                    handshake_timeout: wait,
                };
                let connected = connect(options, &mut ConnectFacts::default()).await;
                connected.map_err(|failed| record_text(&failed.detail))
            }
            Place::Unix(path) => match timeout(wait, UnixStream::connect(path)).await {
                Ok(Ok(socket)) => Ok(Box::new(socket)),
                Ok(Err(error)) => Err(format!("cannot connect to {}: {error}", self.shown)),
                Err(_) => Err(format!("{} does not accept within {wait:?}", self.shown)),
            },
        }
    }

    /// Says why an opening handshake has not led to a connection; `None` if it has.
    pub(super) fn unreachable(&self, opening: &Opening, wait: Duration) -> Option<Unreachable> {
        let shown = &self.shown;
        let sentence = match opening {
            Opening::Answered(answer) if answer.status == 101 => return None,
            Opening::Answered(answer) => {
                let hint = match answer.status {
                    300..=399 => match answer.header("location").next() {
                        Some(to) => {
                            format!("it redirects to {}: probe that URL", record_location(to))
                        }
                        None => "it redirects: probe the URL that it leads to".to_owned(),
                    },
                    400 => "it may need a --subprotocol, a --header, or another path".to_owned(),
                    401 | 403 | 407 => {
                        "it wants credentials or an origin: give them with --header".to_owned()
                    }
                    404 | 405 => "check the path of the URL".to_owned(),
                    426 | 200..=299 => "no WebSocket is served at this path".to_owned(),
                    429 | 503 => {
                        "it does not accept more connections now: try again later".to_owned()
                    }
                    500..=599 => "it, or the application behind it, is failing".to_owned(),
                    _ => "a WebSocket server answers 101".to_owned(),
                };
                format!("{shown} answers HTTP {} instead of 101: {hint}", answer.status)
            }
            Opening::NotConnected(why) => format!("{shown} cannot be reached: {why}"),
            Opening::NotHttp(text) if text.is_empty() => {
                format!("{shown} does not answer in HTTP/1.1; is the port the right one?")
            }
            Opening::NotHttp(text) => {
                format!(
                    "{shown} does not answer in HTTP/1.1 but with {text:?}; is the port the right one?"
                )
            }
            Opening::Ended(end) => {
                let tls = match end {
                    End::Fin | End::Reset | End::Truncated if !self.is_secure() => {
                        "; if it speaks TLS, write wss://"
                    }
                    End::Fin | End::Reset | End::Truncated | End::Error(_) => "",
                };
                let how = end.as_str();
                format!("{shown} ends TCP ({how}) without an answer to the opening handshake{tls}")
            }
            Opening::Silent | Opening::NotAsked => format!(
                "{shown} accepts TCP and does not answer the opening handshake within {wait:?}"
            ),
        };
        Some(Unreachable(sentence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Result<Target, BadTarget> {
        Target::new(TargetOptions { url: url.to_owned(), ..TargetOptions::default() })
    }

    #[test]
    fn a_target_shows_no_secret() {
        let shown = target("wss://a.example/b?token=secret").unwrap();
        assert_eq!(shown.shown(), "wss://a.example/b?token=***");
        assert_eq!((shown.path.as_str(), shown.is_secure()), ("/b?token=secret", true));
        let unix = target("unix:/run/a.sock:/chat?key=secret").unwrap();
        assert!(!unix.shown().contains("secret"), "{}", unix.shown());
        assert_eq!((unix.path.as_str(), unix.host.as_str()), ("/chat?key=secret", "localhost"));
        assert_eq!(target("ws+unix:/run/a.sock").unwrap().path, "/");
    }

    #[test]
    fn what_cannot_be_sent_is_refused_without_its_value() {
        for url in ["a", "ftp://a/", "unix:relative", "ws://user:secret@a/"] {
            let error = target(url).unwrap_err().to_string();
            assert!(!error.contains("secret") && error.contains("unix:"), "{error}");
        }
        let with = |name: &str, value: &str| {
            let headers = vec![(name.to_owned(), value.to_owned())];
            let options =
                TargetOptions { url: "ws://a/".to_owned(), headers, ..TargetOptions::default() };
            Target::new(options).map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(with("Authorization", "Bearer secret"), Ok(()));
        assert_eq!(with("Host", "b"), Ok(()));
        assert!(with("Sec-WebSocket-Key", "secret").unwrap_err().contains("sec-websocket-key"));
        assert!(!with("X", "secret\r\nY: z").unwrap_err().contains("secret"));
        let subprotocols = vec!["a b".to_owned()];
        let options =
            TargetOptions { url: "ws://a/".to_owned(), subprotocols, ..TargetOptions::default() };
        assert!(matches!(Target::new(options), Err(BadTarget::Subprotocol(_))));
    }
}
