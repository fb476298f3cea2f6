//! The one parser of URLs with a host: `scheme://host[:port][/path][?query]`.

use http::uri::PathAndQuery;
use http::{HeaderValue, Uri};

/// A scheme of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `ws://`, port 80.
    Ws,
    /// `wss://`, port 443.
    Wss,
    /// `http://`, port 80.
    Http,
    /// `https://`, port 443.
    Https,
}

impl Scheme {
    const ALL: [Self; 4] = [Self::Ws, Self::Wss, Self::Http, Self::Https];

    /// Returns the scheme with this name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| name.eq_ignore_ascii_case(known.name()))
    }

    /// Returns the name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Returns whether it stands for TLS.
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Wss | Self::Https)
    }

    /// Returns the port of URLs that name none.
    pub const fn default_port(self) -> u16 {
        if self.is_secure() { 443 } else { 80 }
    }
}

/// A URL with a host, without credentials and without a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    text: String,
    scheme: Scheme,
    host: String,
    port: u16,
    authority: HeaderValue,
    target: PathAndQuery,
}

/// Why a string is not such a URL. The message does not repeat it, because it may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlProblem {
    /// It is malformed.
    #[error("it cannot be parsed")]
    Malformed,
    /// It has no scheme, or one that is not allowed here.
    #[error("it begins with another scheme")]
    Scheme,
    /// It has no host.
    #[error("it has no host")]
    NoHost,
    /// It has a user name or a password.
    #[error("credentials do not belong in a URL")]
    Credentials,
    /// The port is 0, too large, or not a number.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// It has a fragment (RFC 6455 section 3 forbids it).
    #[error("it has a fragment")]
    Fragment,
}

impl Url {
    /// Parses a URL whose scheme is one of `allowed`.
    ///
    /// # Errors
    /// [`UrlProblem`].
    pub fn parse(text: &str, allowed: &[Scheme]) -> Result<Self, UrlProblem> {
        if text.contains('#') {
            return Err(UrlProblem::Fragment);
        }
        let uri: Uri = text.parse().map_err(|_| UrlProblem::Malformed)?;
        let name = uri.scheme_str().ok_or(UrlProblem::Scheme)?;
        let known = Scheme::named(name).filter(|known| allowed.contains(known));
        let scheme = known.ok_or(UrlProblem::Scheme)?;
        let authority = uri.authority().ok_or(UrlProblem::NoHost)?;
        if authority.as_str().contains('@') {
            return Err(UrlProblem::Credentials);
        }
        let host = authority.host();
        if host.is_empty() {
            return Err(UrlProblem::NoHost);
        }
        let port = if authority.as_str().len() == host.len() {
            scheme.default_port()
        } else {
            authority.port_u16().filter(|port| *port > 0).ok_or(UrlProblem::Port)?
        };
        let target = match uri.path_and_query() {
            // `ws://host?a=b` means `/?a=b`.
            Some(target) if target.path().is_empty() => {
                let query = target.query().map(|query| format!("/?{query}"));
                let target = query.as_deref().unwrap_or("/");
                target.parse().map_err(|_| UrlProblem::Malformed)?
            }
            Some(target) => target.clone(),
            None => PathAndQuery::from_static("/"),
        };
        Ok(Self {
            text: text.to_owned(),
            scheme,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            authority: HeaderValue::from_str(authority.as_str())
                .map_err(|_| UrlProblem::Malformed)?,
            target,
        })
    }

    /// Returns the URL as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the host, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port; that of the scheme if the URL has none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the host, and the port if the URL has one.
    pub fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    /// Returns the path and the query.
    pub fn target(&self) -> &PathAndQuery {
        &self.target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_split_into_its_parts() {
        let parts = |text: &str| {
            let url = Url::parse(text, &Scheme::ALL).unwrap();
            let authority = url.authority.to_str().unwrap().to_owned();
            (url.host, url.port, authority, url.target.to_string(), url.scheme)
        };
        let expect = |host: &str, port, authority: &str, target: &str, scheme| {
            (host.to_owned(), port, authority.to_owned(), target.to_owned(), scheme)
        };
        use Scheme::{Http, Https, Ws, Wss};
        assert_eq!(parts("ws://a.example"), expect("a.example", 80, "a.example", "/", Ws));
        assert_eq!(parts("ws://a:81/b?c=%20"), expect("a", 81, "a:81", "/b?c=%20", Ws));
        assert_eq!(parts("ws://a?c"), expect("a", 80, "a", "/?c", Ws));
        assert_eq!(parts("WS://[::1]:81/"), expect("::1", 81, "[::1]:81", "/", Ws));
        assert_eq!(parts("wss://a.example/b"), expect("a.example", 443, "a.example", "/b", Wss));
        assert_eq!(parts("WSS://a:444"), expect("a", 444, "a:444", "/", Wss));
        assert_eq!(parts("http://a"), expect("a", 80, "a", "/", Http));
        assert_eq!(parts("https://a"), expect("a", 443, "a", "/", Https));
    }

    #[test]
    fn each_problem_is_named() {
        for (text, problem) in [
            ("", UrlProblem::Malformed),
            ("a", UrlProblem::Scheme),
            ("a:1", UrlProblem::Scheme),
            ("/path", UrlProblem::Scheme),
            ("http://a/", UrlProblem::Scheme),
            ("ftp://a/", UrlProblem::Scheme),
            ("ws://", UrlProblem::Malformed),
            ("ws://a:0/", UrlProblem::Port),
            ("ws://a:x/", UrlProblem::Port),
            ("ws://a:99999/", UrlProblem::Port),
            ("ws://a:/", UrlProblem::Port),
            ("ws://user:secret@a/", UrlProblem::Credentials),
            ("ws://a/#fragment", UrlProblem::Fragment),
            ("ws://a b/", UrlProblem::Malformed),
        ] {
            assert_eq!(Url::parse(text, &[Scheme::Ws]), Err(problem), "{text}");
        }
    }
}
