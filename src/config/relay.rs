//! The relay backend: an application that connections are passed on to.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use http::Uri;
use serde::Deserialize;
use serde::de::{self, Deserializer};

use super::values::ByteSize;
use crate::vocabulary::CloseCode;

/// How connections are passed on to an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayBackend {
    /// Sets the application.
    ///
    /// Unit: `ws://host:port`, to ask for the client's own path, or `ws://host:port/path`, to ask for
    /// this one; `ws+unix:/run/app.sock`. Required. Cost: one more connection for each connection.
    pub url: UpstreamUrl,
    /// Bounds a try to connect, the name's resolution included.
    ///
    /// Unit: duration, above zero. Default: 3s. Cost: clients wait up to as long for each try; then
    /// they get 504.
    pub connect_timeout: Duration,
    /// Bounds the application's answer to the opening handshake, beside `handshake_timeout`.
    ///
    /// Unit: duration, above zero. Default: 10s. Cost: clients wait for as long; then they get 504.
    pub response_timeout: Duration,
    /// Sets how often connecting is tried; an application that answered is not asked again.
    ///
    /// Unit: tries, above zero. Default: 2. Cost: as many times `connect_timeout`.
    pub tries: u32,
    /// Bounds the opening handshakes with the application that are under way.
    ///
    /// Unit: handshakes, above zero. Default: 256. Cost: a descriptor each; beyond it clients get 503.
    pub max_pending: u32,
    /// Chooses the `Host` that the application sees.
    ///
    /// One of `preserve`, `upstream`. Default: preserve. Cost: none.
    pub host: HostHeader,
    /// Holds uncompressed text to UTF-8 as it passes, both ways.
    ///
    /// Unit: true or false. Default: true. Cost: about 1 µs per 16 KiB of text; without it each side
    /// must check for itself.
    pub check_utf8: bool,
    /// Chooses what the application sees of a client that was lost.
    ///
    /// One of `abort` (TCP is reset), `close:CODE`. Default: abort. Cost: a code tells less than it
    /// seems: the client did not send it.
    pub on_client_lost: OnClientLost,
    /// Sets the close code that a client gets when the application was lost.
    ///
    /// Unit: code. Default: 1012. Cost: none; after 1000 many clients never come back.
    pub on_backend_lost: CloseCode,
    /// Lists this machine's addresses to dial from, in turn.
    ///
    /// Unit: IP addresses. Default: none, the system chooses. Cost: none; each address has as many
    /// ports as `ip_local_port_range` says.
    pub source_addresses: Vec<IpAddr>,
    /// Bounds a message, and a frame, from the application.
    ///
    /// Unit: size, above zero. Default: 16MiB. Cost: none: a message is never held; a larger one ends
    /// both connections, the client's with 1011.
    pub max_message_size: ByteSize,
    /// Chooses what becomes of requests that ask for no WebSocket.
    ///
    /// One of `refuse` (426), `proxy` (they go to the same application). Default: refuse; `proxy` with
    /// `--relay`. Cost: `proxy` takes two descriptors for each request under way.
    pub http: PlainHttp,
    /// Bounds how long such a request may see nothing move, either way.
    ///
    /// Unit: duration, above zero. Default: 60s. Cost: a stuck request holds its descriptors for as
    /// long; shorter than the application's long polls, it cuts them (504).
    pub http_timeout: Duration,
}

impl RelayBackend {
    /// Makes the backend of an application with defaults for everything else.
    pub fn new(url: UpstreamUrl) -> Self {
        Self {
            url,
            connect_timeout: Duration::from_secs(3),
            response_timeout: Duration::from_secs(10),
            tries: 2,
            max_pending: 256,
            host: HostHeader::default(),
            check_utf8: true,
            on_client_lost: OnClientLost::default(),
            on_backend_lost: CloseCode::SERVICE_RESTART,
            source_addresses: Vec::new(),
            max_message_size: ByteSize::mib(16),
            http: PlainHttp::default(),
            http_timeout: Duration::from_secs(60),
        }
    }
}

/// The keys that only a relay backend takes, as they are written; each may be missing.
#[derive(Default)]
pub(super) struct Written {
    pub(super) connect_timeout: Option<Duration>,
    pub(super) response_timeout: Option<Duration>,
    pub(super) tries: Option<u32>,
    pub(super) max_pending: Option<u32>,
    pub(super) host: Option<HostHeader>,
    pub(super) check_utf8: Option<bool>,
    pub(super) on_client_lost: Option<OnClientLost>,
    pub(super) on_backend_lost: Option<CloseCode>,
    pub(super) source_addresses: Option<Vec<IpAddr>>,
    pub(super) max_message_size: Option<ByteSize>,
    pub(super) http: Option<PlainHttp>,
    pub(super) http_timeout: Option<Duration>,
}

impl Written {
    /// Returns the backend, with the defaults of what is missing.
    pub(super) fn with(self, url: UpstreamUrl) -> RelayBackend {
        let default = RelayBackend::new(url);
        RelayBackend {
            connect_timeout: self.connect_timeout.unwrap_or(default.connect_timeout),
            response_timeout: self.response_timeout.unwrap_or(default.response_timeout),
            tries: self.tries.unwrap_or(default.tries),
            max_pending: self.max_pending.unwrap_or(default.max_pending),
            host: self.host.unwrap_or(default.host),
            check_utf8: self.check_utf8.unwrap_or(default.check_utf8),
            on_client_lost: self.on_client_lost.unwrap_or(default.on_client_lost),
            on_backend_lost: self.on_backend_lost.unwrap_or(default.on_backend_lost),
            source_addresses: self.source_addresses.unwrap_or(default.source_addresses),
            max_message_size: self.max_message_size.unwrap_or(default.max_message_size),
            http: self.http.unwrap_or(default.http),
            http_timeout: self.http_timeout.unwrap_or(default.http_timeout),
            url: default.url,
        }
    }

    /// Returns the name of a key that is there.
    pub(super) fn first_key(&self) -> Option<&'static str> {
        let keys = [
            ("connect_timeout", self.connect_timeout.is_some()),
            ("response_timeout", self.response_timeout.is_some()),
            ("tries", self.tries.is_some()),
            ("max_pending", self.max_pending.is_some()),
            ("host", self.host.is_some()),
            ("check_utf8", self.check_utf8.is_some()),
            ("on_client_lost", self.on_client_lost.is_some()),
            ("on_backend_lost", self.on_backend_lost.is_some()),
            ("source_addresses", self.source_addresses.is_some()),
            ("max_message_size", self.max_message_size.is_some()),
            ("http", self.http.is_some()),
            ("http_timeout", self.http_timeout.is_some()),
        ];
        keys.into_iter().find_map(|(key, there)| there.then_some(key))
    }
}

/// The `Host` that an application sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostHeader {
    /// The client's.
    #[default]
    Preserve,
    /// That of the application's URL.
    Upstream,
}

/// What becomes of requests that ask for no WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlainHttp {
    /// They are refused.
    #[default]
    Refuse,
    /// They go to the application.
    Proxy,
}

/// What an application sees of a client that was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnClientLost {
    /// TCP is reset, as it would have been without a relay.
    #[default]
    Abort,
    /// A Close with this code.
    Close(CloseCode),
}

impl<'de> Deserialize<'de> for OnClientLost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let code = |text: &str| CloseCode::new(text.strip_prefix("close:")?.parse().ok()?).ok();
        match (&*text, code(&text)) {
            ("abort", _) => Ok(Self::Abort),
            (_, Some(code)) => Ok(Self::Close(code)),
            (_, None) => {
                Err(de::Error::custom(format!("{text:?} is neither \"abort\" nor \"close:1001\"")))
            }
        }
    }
}

/// Where an application is: `ws://host:port[/path]` or `ws+unix:/path/to.sock`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UpstreamUrl(String);

impl UpstreamUrl {
    /// Returns the URL as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Tells why a text is no URL of an application. It is not repeated: it may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidUpstream {
    /// It is not as it should be.
    #[error("the URL {0}: write \"ws://127.0.0.1:3000\" or \"ws+unix:/run/app.sock\"")]
    Malformed(&'static str),
    /// TLS is yet to come.
    #[error("wss:// to an application is not in this version: use ws://")]
    TlsNotInThisVersion,
}

/// What `sockaddr_un` holds on Linux, less the final zero.
const LONGEST_SOCKET_PATH: usize = 107;

impl FromStr for UpstreamUrl {
    type Err = InvalidUpstream;

    fn from_str(text: &str) -> Result<Self, InvalidUpstream> {
        let malformed = InvalidUpstream::Malformed;
        if let Some(path) = text.strip_prefix("ws+unix:") {
            if !path.starts_with('/') || path.len() > LONGEST_SOCKET_PATH || path.contains('\0') {
                return Err(malformed("has no absolute path of at most 107 bytes"));
            }
            return Ok(Self(text.to_owned()));
        }
        if text.contains('#') {
            return Err(malformed("has a fragment"));
        }
        let uri: Uri = text.parse().map_err(|_| malformed("cannot be parsed"))?;
        match uri.scheme_str().map(str::to_ascii_lowercase).as_deref() {
            Some("ws") => {}
            Some("wss") => return Err(InvalidUpstream::TlsNotInThisVersion),
            Some(_) | None => return Err(malformed("begins with neither ws:// nor ws+unix:")),
        }
        let authority = uri.authority().ok_or_else(|| malformed("has no host"))?;
        let (host, whole) = (authority.host(), authority.as_str());
        if whole.contains('@') {
            return Err(malformed("holds credentials"));
        }
        let port_is_good =
            whole.len() == host.len() || authority.port_u16().is_some_and(|port| port > 0);
        if host.is_empty() || !port_is_good {
            return Err(malformed("needs a host and a port above 0"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for UpstreamUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_applications_are_held_to_their_form() {
        for good in ["ws://a", "ws://[::1]:3000/", "WS://a:1/b?c", "ws+unix:/run/app.sock"] {
            assert_eq!(good.parse::<UpstreamUrl>().unwrap().as_str(), good);
        }
        for bad in ["", "a:1", "http://a", "ws://", "ws://a:0", "ws://u@a", "ws://a#b", "ws+unix:a"]
        {
            let error = bad.parse::<UpstreamUrl>().unwrap_err();
            assert!(matches!(error, InvalidUpstream::Malformed(_)), "{bad}");
        }
        let tls = "wss://a".parse::<UpstreamUrl>();
        assert_eq!(tls, Err(InvalidUpstream::TlsNotInThisVersion));
    }
}
