//! Admission: how the clients of a route prove that they may connect.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::HeaderName;
use http::header::{AUTHORIZATION, COOKIE};
use serde::Deserialize;
use serde::de::{self, Deserializer};

use super::dialers::SecretSource;
use super::values::ByteSize;
use crate::protocol::header_names::is_token;
use crate::protocol::url::{Scheme, Url, UrlProblem};

/// Who decides whether a client may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Auth {
    /// A signed token says so.
    Jwt(Box<JwtAuth>),
    /// An HTTP endpoint says so.
    Http(Box<HttpAuth>),
}

/// Admission by a JSON Web Token (RFC 7519).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtAuth {
    /// Names the keys: one of `key_file`, `jwks_file`, `jwks_url` and `secret`. Required.
    pub keys: JwtKeys,
    /// Lists the algorithms of tokens, which must fit the keys.
    ///
    /// Unit: `HS256`, `RS256`, `ES256`, `EdDSA` and their relatives. Default: that of the key in
    /// `key_file`, `HS256` with `secret`, `RS256`, `ES256` and `EdDSA` with a JWKS. Cost: none.
    pub algorithms: Vec<Algorithm>,
    /// Lists the issuers (`iss`) whose tokens are accepted.
    ///
    /// Unit: text, or a list. Default: none, any issuer that holds a key. Cost: none.
    pub issuer: Vec<String>,
    /// Lists the audiences (`aud`) of which a token must name one. Without it a token that is for an
    /// audience is refused (RFC 7519 section 4.1.3).
    ///
    /// Unit: text, or a list. Default: none. Cost: none.
    pub audience: Vec<String>,
    /// Sets by how much the clocks of the issuer and of this machine may differ.
    ///
    /// Unit: duration, at most 10 minutes. Default: 5s. Cost: a token is valid for as much longer.
    pub leeway: Duration,
    /// Refuses tokens that never expire, which have no `exp`.
    ///
    /// Unit: true or false. Default: true. Cost: without it a stolen token opens the door for ever.
    pub require_exp: bool,
    /// Lists where the token is looked for, in order; the first place that has one counts.
    ///
    /// Unit: `header`, `cookie:NAME`, `query:NAME`, `subprotocol`. Default: `header`. Cost: a token in
    /// the query stands in the logs of every proxy on the way.
    pub from: Vec<TokenSource>,
    /// Names the claim that becomes the subject.
    ///
    /// Unit: name of a claim. Default: `sub`. Cost: none.
    pub subject: String,
    /// Makes tags of claims; a claim that a token does not have makes none.
    ///
    /// Unit: by the name of each tag the name of a claim. Default: none. Cost: their bytes in every
    /// record.
    pub tags: BTreeMap<String, String>,
    /// Names the authorities whose certificates the server of `jwks_url` may show, in place of the
    /// machine's.
    ///
    /// Unit: path to PEM, read anew for every fetch. Default: none. Cost: reading it.
    pub ca_file: Option<PathBuf>,
    /// Bounds a fetch of `jwks_url`.
    ///
    /// Unit: duration, above zero. Default: 5s. Cost: clients whose key is not known yet wait for as
    /// long; then they get 503.
    pub jwks_timeout: Duration,
    /// Sets how old the keys of `jwks_url` may get before they are fetched again, while the old ones
    /// are used. A token with an unknown `kid` makes them be fetched at once, at most every 10 s.
    ///
    /// Unit: duration, at least 10s. Default: 15m. Cost: a key that was withdrawn is used for as long.
    pub jwks_refresh: Duration,
    /// Bounds the answer of `jwks_url`, and `jwks_file`.
    ///
    /// Unit: size, above zero. Default: 1MiB. Cost: as much memory while it is read.
    pub jwks_max_size: ByteSize,
}

impl JwtAuth {
    /// Makes admission by tokens that are signed with these keys, with defaults for everything else.
    pub fn new(keys: JwtKeys) -> Self {
        Self {
            keys,
            algorithms: Vec::new(),
            issuer: Vec::new(),
            audience: Vec::new(),
            leeway: Duration::from_secs(5),
            require_exp: true,
            from: vec![TokenSource::Header],
            subject: "sub".to_owned(),
            tags: BTreeMap::new(),
            ca_file: None,
            jwks_timeout: Duration::from_secs(5),
            jwks_refresh: Duration::from_secs(15 * 60),
            jwks_max_size: ByteSize::mib(1),
        }
    }
}

/// Where the keys of tokens come from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JwtKeys {
    /// A PEM file with one public key (`key_file`).
    KeyFile(PathBuf),
    /// A file with a JSON Web Key Set (`jwks_file`, RFC 7517).
    JwksFile(PathBuf),
    /// A JSON Web Key Set that is fetched (`jwks_url`).
    JwksUrl(HttpUrl),
    /// A secret that is shared with the issuer (`secret`), of at least 32 bytes.
    Secret(SecretSource),
}

/// An algorithm of a token's signature (RFC 7518 section 3.1, RFC 8037).
#[allow(missing_docs, clippy::upper_case_acronyms)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[non_exhaustive]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    /// Returns whether its key is a secret that both sides share.
    pub const fn is_symmetric(self) -> bool {
        matches!(self, Self::HS256 | Self::HS384 | Self::HS512)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Where a token is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenSource {
    /// `Authorization: Bearer TOKEN`.
    Header,
    /// The cookie of this name.
    Cookie(String),
    /// The parameter of the query of this name.
    Query(String),
    /// The entry `bearer.TOKEN` of `Sec-WebSocket-Protocol`.
    Subprotocol,
}

impl FromStr for TokenSource {
    type Err = InvalidTokenSource;

    fn from_str(text: &str) -> Result<Self, InvalidTokenSource> {
        let invalid = || InvalidTokenSource(text.to_owned());
        match text.split_once(':') {
            None if text == "header" => Ok(Self::Header),
            None if text == "subprotocol" => Ok(Self::Subprotocol),
            Some(("cookie", name)) if is_token(name) => Ok(Self::Cookie(name.to_owned())),
            Some(("query", name)) if is_parameter(name) => Ok(Self::Query(name.to_owned())),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("header"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Subprotocol => f.write_str("subprotocol"),
        }
    }
}

/// Returns whether a parameter of a query can have this name without any escape.
fn is_parameter(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

/// A text that names no place for a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no place for a token: write \"header\", \"cookie:NAME\", \"query:NAME\" or \"subprotocol\""
)]
pub struct InvalidTokenSource(String);

impl<'de> Deserialize<'de> for TokenSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Admission by an HTTP endpoint, which is asked about each client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAuth {
    /// Sets whom to ask. A URL without a path is asked for the client's own path.
    ///
    /// Unit: `http://host:port[/path]`, `https://…` or `http+unix:/run/auth.sock`. Required. Cost: one
    /// request per opening handshake.
    pub url: HttpUrl,
    /// Bounds a request, connecting included.
    ///
    /// Unit: duration, above zero. Default: 1s. Cost: clients wait for as long; then they get 503.
    pub timeout: Duration,
    /// Bounds the requests that are under way.
    ///
    /// Unit: requests, above zero. Default: 256. Cost: a descriptor each; beyond it clients get 503.
    pub max_pending: u32,
    /// Lists the header fields of the client that the endpoint sees.
    ///
    /// Unit: names. Default: `cookie`, `authorization`. Cost: their bytes, once per request.
    pub pass_headers: Vec<HeaderName>,
    /// Bounds the body of an answer.
    ///
    /// Unit: size, above zero. Default: 16KiB. Cost: as much memory per request under way.
    pub max_answer: ByteSize,
    /// Names the authorities whose certificates the endpoint may show, in place of the machine's.
    ///
    /// Unit: path to PEM, read anew for every connection. Default: none. Cost: reading it.
    pub ca_file: Option<PathBuf>,
}

impl HttpAuth {
    /// Makes admission by the endpoint at this URL, with defaults for everything else.
    pub fn new(url: HttpUrl) -> Self {
        Self {
            url,
            timeout: Duration::from_secs(1),
            max_pending: 256,
            pass_headers: vec![COOKIE, AUTHORIZATION],
            max_answer: ByteSize::kib(16),
            ca_file: None,
        }
    }
}

/// Where an HTTP server is: `http://host:port[/path]`, `https://…` or `http+unix:/path/to.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpUrl {
    /// Reached over TCP, and TLS with `https`.
    Tcp(Url),
    /// Reached over a Unix socket.
    Unix(PathBuf),
}

/// Why a text is no URL of an HTTP server. It is not repeated: it may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHttpUrl {
    /// It is malformed, for this reason.
    #[error("the URL cannot be used: {0}; write http://host:port/path or https://host/path")]
    Malformed(UrlProblem),
    /// The path of a Unix socket is not absolute.
    #[error("the URL cannot be used: write the absolute path of the socket after http+unix:")]
    SocketPath,
}

impl FromStr for HttpUrl {
    type Err = InvalidHttpUrl;

    fn from_str(text: &str) -> Result<Self, InvalidHttpUrl> {
        match text.strip_prefix("http+unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            Some(_) => Err(InvalidHttpUrl::SocketPath),
            None => Url::parse(text, &[Scheme::Http, Scheme::Https])
                .map(Self::Tcp)
                .map_err(InvalidHttpUrl::Malformed),
        }
    }
}

impl<'de> Deserialize<'de> for HttpUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_tokens_are_held_to_their_form() {
        for (text, source) in [
            ("header", TokenSource::Header),
            ("subprotocol", TokenSource::Subprotocol),
            ("cookie:session", TokenSource::Cookie("session".to_owned())),
            ("query:access_token", TokenSource::Query("access_token".to_owned())),
        ] {
            assert_eq!(text.parse(), Ok(source));
        }
        for bad in
            ["", "Header", "cookie", "cookie:", "cookie:a b", "query:a=b", "query:a&b", "body"]
        {
            assert_eq!(
                bad.parse::<TokenSource>(),
                Err(InvalidTokenSource(bad.to_owned())),
                "{bad}"
            );
        }
    }

    #[test]
    fn urls_of_endpoints_are_held_to_their_form() {
        for good in ["http://a", "https://a:1/b?c", "http+unix:/run/auth.sock", "http://[::1]:3/"] {
            assert!(good.parse::<HttpUrl>().is_ok(), "{good}");
        }
        for bad in ["", "a:1", "ws://a", "http://", "http://user:secret@a", "http+unix:a"] {
            let error = bad.parse::<HttpUrl>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
