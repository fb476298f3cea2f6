//! The address of the control API, and the token.

use std::fmt;
use std::path::{Path, PathBuf};

use http::header::HeaderValue;

use crate::protocol::url::{Scheme, Url, UrlProblem};
use crate::surfaces::cli::failure::Failure;
use crate::surfaces::cli::reading::read_text;

/// The default address of the control API.
const DEFAULT: &str = "http://127.0.0.1:8081";

/// The address of the control API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// At a host and port, below a path that may be empty. The authorities whose certificates the daemon may
    /// show with `https` are those in a file, or the machine's.
    Tcp { url: Url, ca_file: Option<PathBuf> },
    /// At a Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Returns the `Host` header.
    pub(super) fn host(&self) -> String {
        match self {
            Self::Tcp { url, .. } if url.port() == url.scheme().default_port() => host_name(url),
            Self::Tcp { url, .. } => format!("{}:{}", host_name(url), url.port()),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }

    /// Returns the prefix of every path.
    pub(super) fn prefix(&self) -> &str {
        match self {
            Self::Tcp { url, .. } => url.target().path().trim_end_matches('/'),
            Self::Unix(_) => "",
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { url, .. } => {
                let (scheme, host) = (url.scheme().name(), host_name(url));
                write!(f, "{scheme}://{host}:{}{}", url.port(), self.prefix())
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Returns the host, an IPv6 address in brackets.
fn host_name(url: &Url) -> String {
    match url.host() {
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    }
}

/// Returns the given address, or that in `LASTWORD_CONTROL`, or the default. For `https://`, the
/// authorities are those in the given file, or in that of `LASTWORD_CA_FILE`, or the machine's.
pub(super) fn address(given: Option<&str>, ca_file: Option<&Path>) -> Result<Address, Failure> {
    let variable = || std::env::var_os("LASTWORD_CA_FILE").filter(|file| !file.is_empty());
    let ca_file = ca_file.map(Path::to_owned).or_else(|| variable().map(PathBuf::from));
    match given {
        Some(given) => parse(given, ca_file),
        None => match std::env::var("LASTWORD_CONTROL") {
            Ok(given) if !given.is_empty() => parse(&given, ca_file),
            Ok(_) | Err(_) => parse(DEFAULT, ca_file),
        },
    }
}

fn parse(given: &str, ca_file: Option<PathBuf>) -> Result<Address, Failure> {
    let refuse = |problem| Failure::Address { given: given.to_owned(), problem };
    if let Some(path) = given.strip_prefix("unix:") {
        // Both unix:/run/x.sock and unix:///run/x.sock are common.
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() {
            return Err(refuse("write the path of the socket after unix:"));
        }
        return Ok(Address::Unix(PathBuf::from(path)));
    }
    let url =
        Url::parse(given, &[Scheme::Http, Scheme::Https]).map_err(|problem| match problem {
            UrlProblem::Credentials => {
                refuse("it must not contain credentials; give the token with --token-file")
            }
            UrlProblem::Port => refuse("its port is not a number from 1 to 65535"),
            UrlProblem::NoHost => refuse("it has no host"),
            UrlProblem::Malformed | UrlProblem::Scheme | UrlProblem::Fragment => {
                refuse("write http://HOST:PORT, https://HOST:PORT or unix:PATH")
            }
        })?;
    if url.target().query().is_some() {
        return Err(refuse("it must not have a query"));
    }
    Ok(Address::Tcp { url, ca_file })
}

/// Returns the credentials for the token in this file, or in `LASTWORD_TOKEN`.
pub(super) fn token(file: Option<&Path>) -> Result<Option<HeaderValue>, Failure> {
    let token = match file {
        Some(path) => {
            let text = read_text(path)?;
            let token = first_token(&text).map(str::to_owned);
            Some(token.ok_or_else(|| {
                Failure::Usage(format!("{}: this file contains no token", path.display()))
            })?)
        }
        None => std::env::var("LASTWORD_TOKEN").ok().map(|token| token.trim().to_owned()),
    };
    token.filter(|token| !token.is_empty()).map(|token| credentials(&token)).transpose()
}

/// Returns the token of the first line that is neither empty nor a comment: `name:scope:token`,
/// `name:token`, or the token alone.
fn first_token(text: &str) -> Option<&str> {
    let mut lines = text.lines().map(str::trim);
    let line = lines.find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let token = line.split_once(':').map_or(line, |(_, rest)| match rest.split_once(':') {
        Some((scope, token)) if ["read", "operate"].contains(&scope.trim()) => token,
        _ => rest,
    });
    let token = token.trim();
    (!token.is_empty()).then_some(token)
}

fn credentials(token: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
        Failure::Usage("the token has characters that are not allowed in an HTTP header".to_owned())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(given: &str) -> Result<Address, Failure> {
        super::parse(given, None)
    }

    #[test]
    fn https_has_a_port_and_authorities_of_its_own() {
        let address = super::parse("https://ops.example/x", Some("ca.pem".into())).unwrap();
        assert!(matches!(&address, Address::Tcp { ca_file: Some(_), .. }));
        assert_eq!((&*address.host(), address.prefix()), ("ops.example", "/x"));
        assert_eq!(address.to_string(), "https://ops.example:443/x");
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (given, shown, host) in [
            ("http://127.0.0.1:8081", "http://127.0.0.1:8081", "127.0.0.1:8081"),
            ("http://[::1]:8081/", "http://[::1]:8081", "[::1]:8081"),
            ("http://ops.example", "http://ops.example:80", "ops.example"),
            ("http://ops.example:80/lastword/", "http://ops.example:80/lastword", "ops.example"),
            ("unix:/run/lastword.sock", "unix:/run/lastword.sock", "localhost"),
            ("unix:///run/lastword.sock", "unix:/run/lastword.sock", "localhost"),
        ] {
            let address = parse(given).unwrap();
            assert_eq!((address.to_string().as_str(), address.host().as_str()), (shown, host));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for given in [
            "",
            "127.0.0.1:8081",
            "https://",
            "http://",
            "http://a:b",
            "http://a:",
            "http://a:70000",
            "http://user:pw@a",
            "http://a?b",
            "unix:",
            "ftp://a",
        ] {
            assert!(matches!(parse(given), Err(Failure::Address { .. })), "{given}");
        }
    }

    #[test]
    fn the_first_token_of_a_file_is_taken_without_its_name() {
        assert_eq!(first_token("# ours\n\n ops:s3cret \nother:x\n"), Some("s3cret"));
        assert_eq!(first_token("s3cret"), Some("s3cret"));
        assert_eq!(first_token("ops:read:s3cret"), Some("s3cret"));
        assert_eq!(first_token("ops: operate :s3c:ret"), Some("s3c:ret"));
        assert_eq!(first_token("ops:a:b"), Some("a:b"));
        assert_eq!(first_token("# none\n"), None);
        assert_eq!(first_token("ops:\n"), None);
    }

    #[test]
    fn a_token_is_never_printed() {
        assert!(!format!("{:?}", credentials("s3cret").unwrap()).contains("s3cret"));
        assert!(matches!(credentials("a\nb"), Err(Failure::Usage(_))));
    }
}
