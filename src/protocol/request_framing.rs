//! Finds where HTTP/1.1 requests begin and end (RFC 9112), strictly.
//!
//! A parser that is more lenient than the next one in a chain lets a client smuggle requests past it
//! (RFC 9112 section 11.2). Everything ambiguous is therefore refused: line ends without CR, several
//! lengths, a length beside chunks, chunk sizes that are not hexadecimal.

mod chunked;

use http::Uri;

use super::uri_host::is_host_and_port;

pub use chunked::ChunkedBody;

/// Why the end of a request cannot be determined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A line feed without a carriage return before it.
    #[error("a line of the request ends in a bare LF: end lines with CR LF")]
    BareLf,
    /// A line that continues the one before it.
    #[error("a header line is folded: write it as one line")]
    Folded,
    /// A header line without a colon.
    #[error("a header line has no colon")]
    NoColon,
    /// More than one length, or one that is not a number.
    #[error("the Content-Length is not one number: send one line with digits")]
    Length,
    /// Both a length and chunks.
    #[error("there is a Content-Length beside a Transfer-Encoding: send one of them")]
    TwoFramings,
    /// A transfer coding other than chunked, or chunks in HTTP/1.0.
    #[error("the Transfer-Encoding is not chunked, or this is HTTP/1.0: send chunked or a length")]
    Coding,
    /// A malformed chunk.
    #[error("the body is not chunked as RFC 9112 section 7.1 requires")]
    Chunk,
}

/// How the body after a head is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// It has this many bytes.
    Length(u64),
    /// It is chunked.
    Chunked,
}

/// The parts of a request head that frame and route the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// Its length in bytes, including the empty line at its end.
    pub len: usize,
    /// The method.
    pub method: &'a str,
    /// The target as it was sent.
    pub target: &'a str,
    /// The value of the last `Host` line.
    pub host: Option<&'a str>,
    /// The number of `Host` lines.
    hosts: usize,
    is_http_10: bool,
    /// Whether it has `Upgrade: websocket`, even if the rest is wrong.
    pub asks_for_websocket: bool,
    /// How its body is delimited.
    pub framing: Framing,
}

impl<'a> Head<'a> {
    /// Reads the head at the beginning of `bytes`; `None` if it is incomplete.
    ///
    /// Only what frames the request is checked here; the rest is left to the HTTP parser.
    ///
    /// # Errors
    /// The framing is ambiguous.
    pub fn read(bytes: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let mut lines = Lines { bytes, at: 0 };
        let request_line = loop {
            match lines.next_line()? {
                None => return Ok(None),
                // RFC 9112 section 2.2: empty lines before the request are ignored.
                Some(b"") => {}
                Some(line) => break line,
            }
        };
        // Methods, targets and versions are ASCII; the parser refuses anything else.
        let request_line = match std::str::from_utf8(request_line) {
            Ok(line) => line,
            Err(error) => std::str::from_utf8(&request_line[..error.valid_up_to()]).unwrap_or(""),
        };
        let mut words = request_line.split(' ');
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let is_http_10 = words.next() == Some("HTTP/1.0");
        let (mut host, mut hosts, mut asks_for_websocket) = (None, 0, false);
        let (mut length, mut chunked) = (None, false);
        loop {
            let line = match lines.next_line()? {
                None => return Ok(None),
                Some(b"") => break,
                Some(line) => line,
            };
            if line.starts_with(b" ") || line.starts_with(b"\t") {
                return Err(Malformed::Folded);
            }
            let colon = line.iter().position(|byte| *byte == b':').ok_or(Malformed::NoColon)?;
            let name = &line[..colon];
            // No valid host, length or coding contains anything but ASCII.
            let value = || {
                let value = std::str::from_utf8(&line[colon + 1..]);
                value.unwrap_or_default().trim_matches([' ', '\t'])
            };
            if name.eq_ignore_ascii_case(b"host") {
                host = Some(value());
                hosts += 1;
            } else if name.eq_ignore_ascii_case(b"upgrade") {
                let mut protocols = value().split(',').map(str::trim);
                asks_for_websocket |= protocols.any(|it| it.eq_ignore_ascii_case("websocket"));
            } else if name.eq_ignore_ascii_case(b"content-length") {
                let value = value();
                let is_number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                let number = value.parse().ok().filter(|_| is_number && length.is_none());
                length = Some(number.ok_or(Malformed::Length)?);
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                if chunked || is_http_10 || !value().eq_ignore_ascii_case("chunked") {
                    return Err(Malformed::Coding);
                }
                chunked = true;
            }
        }
        let framing = match (length, chunked) {
            (Some(_), true) => return Err(Malformed::TwoFramings),
            (None, true) => Framing::Chunked,
            (Some(0) | None, false) => Framing::None,
            (Some(length), false) => Framing::Length(length),
        };
        Ok(Some(Self {
            len: lines.at,
            method,
            target,
            host,
            hosts,
            is_http_10,
            asks_for_websocket,
            framing,
        }))
    }

    /// Returns the host and path by which a route is chosen; `None` if the target is not a URI, or the
    /// host is missing, ambiguous or malformed.
    ///
    /// The target of `OPTIONS *` counts as `/`.
    pub fn host_and_path(&self) -> Option<(Option<String>, String)> {
        // RFC 9112 section 3.2: exactly one well-formed line, which HTTP/1.0 may omit.
        let host_is_good = match self.host {
            Some(host) => self.hosts == 1 && is_host_and_port(host),
            None => self.is_http_10,
        };
        if !host_is_good {
            return None;
        }
        if self.target.starts_with('/') {
            let end = self.target.find(['?', '#']).unwrap_or(self.target.len());
            return Some((self.host.map(str::to_owned), self.target[..end].to_owned()));
        }
        let uri: Uri = self.target.parse().ok()?;
        if uri.authority().is_some_and(|authority| !is_host_and_port(authority.as_str())) {
            return None;
        }
        let host = uri.authority().map(ToString::to_string);
        let path = if self.target == "*" { "/" } else { uri.path() };
        Some((host.or_else(|| self.host.map(str::to_owned)), path.to_owned()))
    }
}

/// Splits a head into lines without their CR LF.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    /// Returns the next line; `None` if it is incomplete.
    fn next_line(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let rest = &self.bytes[self.at..];
        let Some(end) = memchr::memchr(b'\n', rest) else { return Ok(None) };
        self.at += end + 1;
        rest[..end].strip_suffix(b"\r").map(Some).ok_or(Malformed::BareLf)
    }
}

#[cfg(test)]
mod tests;
