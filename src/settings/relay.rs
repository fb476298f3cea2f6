//! The relay backend: applications that connections are passed on to.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::uri::PathAndQuery;
use serde::Deserialize;
use serde::de::{self, Deserializer};

use super::values::{self, ByteSize};
use crate::policy::balance::Balance;
use crate::protocol::url::{Scheme, Url, UrlProblem};
use crate::vocabulary::CloseCode;

/// How connections are passed on to an application, or to one of several that do the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayBackend {
    /// Sets the application (`url`), or several that do the same (`urls`).
    ///
    /// Unit: `ws://host:port` or `wss://host:port`, to ask for the client's own path, or with a
    /// `/path`, to ask for this one; `ws+unix:/run/app.sock`. Required. Cost: one more connection for
    /// each connection.
    pub urls: Vec<UpstreamUrl>,
    /// Chooses among several applications.
    ///
    /// One of `round_robin`, `least_connections`, `client_address` (the same for each address of a
    /// client, as Socket.IO's polling needs). Default: round_robin. Cost: with `client_address` all
    /// clients behind one address go to one application.
    pub balance: Balance,
    /// Sets after how many failures in a row (it cannot be reached, answers 5xx, loses its
    /// connections) an application gets no new clients for a while; at most half of them at once.
    ///
    /// Unit: failures; 0 = off. Default: 5. Cost: fewer do the work of all.
    pub eject_after: u32,
    /// Sets for how long.
    ///
    /// Unit: duration, above zero. Default: 30s. Cost: one that is well again waits for as long.
    pub eject_for: Duration,
    /// Asks each application at this path (GET) whether it is well: any 2xx is yes.
    ///
    /// Unit: path. Default: none, no probe. Cost: a request per application and `health_interval`.
    pub health_path: Option<HealthPath>,
    /// Sets how often it is asked.
    ///
    /// Unit: duration, above zero. Default: 10s. Cost: one that has failed gets clients for as long.
    pub health_interval: Duration,
    /// Names the authorities whose certificates the applications may show, in place of the machine's.
    ///
    /// Unit: path to PEM, read anew for every dial. Default: none, the machine's authorities. Cost:
    /// reading it.
    pub ca_file: Option<PathBuf>,
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
    /// Bounds the opening handshakes with each application that are under way.
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
    /// Bounds a message, and a frame, from the application; compressed ones as they pass.
    ///
    /// Unit: size, above zero. Default: none, everything passes. Cost: none: a message is never held;
    /// a larger one ends both connections, the client's with 1011 and a reason that names this key.
    pub max_message_size: Option<ByteSize>,
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
        Self::of_all(vec![url])
    }

    /// Likewise, of several that do the same; without any, every client gets 503.
    pub fn of_all(urls: Vec<UpstreamUrl>) -> Self {
        Self {
            urls,
            balance: Balance::default(),
            eject_after: 5,
            eject_for: Duration::from_secs(30),
            health_path: None,
            health_interval: Duration::from_secs(10),
            ca_file: None,
            connect_timeout: Duration::from_secs(3),
            response_timeout: Duration::from_secs(10),
            tries: 2,
            max_pending: 256,
            host: HostHeader::default(),
            check_utf8: true,
            on_client_lost: OnClientLost::default(),
            on_backend_lost: CloseCode::SERVICE_RESTART,
            source_addresses: Vec::new(),
            max_message_size: None,
            http: PlainHttp::default(),
            http_timeout: Duration::from_secs(60),
        }
    }
}

pub(crate) fn some_close_code<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<CloseCode>, D::Error> {
    values::close_code(deserializer).map(Some)
}

/// Lists the keys of a relay backend that a backend as it is written may have.
macro_rules! relay_keys {
    ($written:ident: $($key:ident),* $(,)?) => {
        impl $written {
            /// Returns the backend, with these defaults of what is missing.
            fn over(self, default: RelayBackend) -> RelayBackend {
                RelayBackend { $($key: self.$key.unwrap_or(default.$key),)* ..default }
            }

            /// Returns the name of a key that is there.
            fn first_key(&self) -> Option<&'static str> {
                [$((stringify!($key), self.$key.is_some())),*]
                    .into_iter()
                    .find_map(|(key, there)| there.then_some(key))
            }
        }
    };
}
pub(crate) use relay_keys;

impl<'de> Deserialize<'de> for Balance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Word {
            RoundRobin,
            LeastConnections,
            ClientAddress,
        }
        Ok(match Word::deserialize(deserializer)? {
            Word::RoundRobin => Self::RoundRobin,
            Word::LeastConnections => Self::LeastConnections,
            Word::ClientAddress => Self::ClientAddress,
        })
    }
}

/// The `Host` that an application sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
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
#[non_exhaustive]
pub enum PlainHttp {
    /// They are refused.
    #[default]
    Refuse,
    /// They go to the application.
    Proxy,
}

/// What an application sees of a client that was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
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

/// A path at which an application says whether it is well.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HealthPath(PathAndQuery);

impl HealthPath {
    /// Returns what is asked for.
    pub fn target(&self) -> &PathAndQuery {
        &self.0
    }
}

impl FromStr for HealthPath {
    type Err = InvalidHealthPath;

    fn from_str(text: &str) -> Result<Self, InvalidHealthPath> {
        let path = text.parse().ok().filter(|_| text.starts_with('/'));
        path.map(Self).ok_or(InvalidHealthPath)
    }
}

impl<'de> Deserialize<'de> for HealthPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A text that is not a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no path: write \"/healthz\"")]
pub struct InvalidHealthPath;

/// Where an application is: `ws://host:port[/path]`, `wss://…` or `ws+unix:/path/to.sock`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UpstreamUrl(String);

impl UpstreamUrl {
    /// Returns the URL as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is no URL of an application. It is not repeated: it may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidUpstream {
    /// It is malformed, for this reason.
    #[error("{0}: write \"ws://127.0.0.1:3000\" or \"ws+unix:/run/app.sock\"")]
    Malformed(UrlProblem),
    /// The path of a Unix socket is not absolute, or too long.
    #[error("write the absolute path of a socket, at most 107 bytes, after ws+unix:")]
    SocketPath,
}

/// What `sockaddr_un` holds on Linux, less the final zero.
const LONGEST_SOCKET_PATH: usize = 107;

impl FromStr for UpstreamUrl {
    type Err = InvalidUpstream;

    fn from_str(text: &str) -> Result<Self, InvalidUpstream> {
        if let Some(path) = text.strip_prefix("ws+unix:") {
            if !path.starts_with('/') || path.len() > LONGEST_SOCKET_PATH || path.contains('\0') {
                return Err(InvalidUpstream::SocketPath);
            }
            return Ok(Self(text.to_owned()));
        }
        Url::parse(text, &[Scheme::Ws, Scheme::Wss]).map_err(InvalidUpstream::Malformed)?;
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
        for good in
            ["ws://a", "wss://a", "ws://[::1]:3000/", "WS://a:1/b?c", "ws+unix:/run/app.sock"]
        {
            assert_eq!(good.parse::<UpstreamUrl>().unwrap().as_str(), good);
        }
        for bad in ["", "a:1", "http://a", "ws://", "ws://a:0", "ws://u@a", "ws://a#b", "ws+unix:a"]
        {
            let error = bad.parse::<UpstreamUrl>().unwrap_err();
            let of_socket = bad.starts_with("ws+unix:");
            assert_eq!(matches!(error, InvalidUpstream::SocketPath), of_socket, "{bad}");
        }
    }
}
