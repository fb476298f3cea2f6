//! Answers to requests, and the lingering close of refused peers.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderValue, RETRY_AFTER, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout_at};

use super::READ;
use super::answer_body::{AnswerBody, Rest};
use super::names::{ACCEPT, AcceptKey, PROTOCOL, Subprotocol};
use crate::protocol::classification::LossKind;
use crate::runtime::scratch::Scratch;
use crate::transport::socket::Transport;
use crate::vocabulary::{OpenFailure, TransportEnd};

/// How long a refused peer may take to read its answer and close.
const LINGER: Duration = Duration::from_secs(1);

/// How many bytes a refused peer may still send in that time.
const LINGER_BYTES: usize = 256 * 1024;

/// A 101 answer, which opens the connection.
#[derive(Debug, Clone)]
pub struct Agreement {
    accept: AcceptKey,
    subprotocol: Option<Subprotocol>,
    headers: Vec<(&'static str, HeaderValue)>,
    passed: HeaderMap,
}

impl Agreement {
    /// Makes an answer without a subprotocol. Extensions are declined by leaving out their header.
    pub fn new(accept: AcceptKey) -> Self {
        Self { accept, subprotocol: None, headers: Vec::new(), passed: HeaderMap::new() }
    }

    /// Selects a subprotocol, which must be one of those offered; `None` leaves out the header.
    #[must_use]
    pub fn subprotocol(mut self, subprotocol: Option<Subprotocol>) -> Self {
        self.subprotocol = subprotocol;
        self
    }

    /// Adds a header line.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds the header lines of an application's answer, which a relay passes on. Of the headers of the
    /// handshake itself only `Sec-WebSocket-Extensions` may be among them.
    #[must_use]
    pub fn passing(mut self, headers: HeaderMap) -> Self {
        self.passed = headers;
        self
    }

    pub(super) fn agreed_subprotocol(self) -> Option<Subprotocol> {
        self.subprotocol
    }

    /// Returns the header lines of the answer, for another HTTP server to write.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        let subprotocol = self.subprotocol.as_ref().map(Subprotocol::as_str);
        for (name, value) in [(ACCEPT, Some(self.accept.as_str())), (PROTOCOL, subprotocol)] {
            // Base64 and tokens are valid header values.
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
        headers
    }

    /// Encodes the answer (RFC 6455 section 4.2.2).
    pub(super) fn to_bytes(&self, now: SystemTime) -> Vec<u8> {
        let mut head = Head::new(StatusCode::SWITCHING_PROTOCOLS, now);
        head.line("Upgrade", b"websocket");
        head.line("Connection", b"Upgrade");
        head.line("Sec-WebSocket-Accept", self.accept.as_str().as_bytes());
        if let Some(subprotocol) = &self.subprotocol {
            head.line("Sec-WebSocket-Protocol", subprotocol.as_str().as_bytes());
        }
        head.lines(&self.headers);
        head.passed(&self.passed);
        head.end()
    }
}

/// An answer that refuses a request.
#[derive(Debug)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// The failure to record.
    pub failure: OpenFailure,
    /// Header lines in addition to those of every refusal.
    pub headers: Vec<(&'static str, HeaderValue)>,
    /// What is wrong and how to fix it, in one line, for the peer and the record.
    pub text: String,
    /// The `Retry-After` of the application whose answer is passed on.
    pub wait: Option<Duration>,
    /// The answer to send instead of the text: an application's, which a relay passes on.
    pub passed: Option<Box<Passed>>,
}

/// An application's answer, without the header lines of every refusal.
#[derive(Debug)]
pub struct Passed {
    /// Its header lines.
    pub headers: HeaderMap,
    /// Its body.
    pub body: AnswerBody,
}

impl Refusal {
    /// Makes a refusal without additional header lines.
    pub fn new(status: StatusCode, failure: OpenFailure, text: impl Into<String>) -> Self {
        let (headers, text) = (Vec::new(), text.into());
        Self { status, failure, headers, text, wait: None, passed: None }
    }

    /// Adds a header line.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds `Retry-After`.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        self.header("Retry-After", value_of_retry_after(wait))
    }

    /// Sends the peer this line instead of the text, which is then only recorded.
    #[must_use]
    pub fn showing(mut self, public: &str) -> Self {
        let mut headers = HeaderMap::new();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(CONTENT_TYPE, plain);
        let body = AnswerBody::whole(Bytes::from(format!("{public}\n")));
        self.passed = Some(Box::new(Passed { headers, body }));
        self
    }

    /// Adds header lines to the answer that is sent, except those that frame it.
    #[must_use]
    pub(crate) fn with_lines(mut self, lines: HeaderMap) -> Self {
        let Some(passed) = &mut self.passed else { return self };
        let framing = [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, DATE];
        for name in lines.keys().filter(|name| !framing.contains(name)) {
            if *name == CONTENT_TYPE {
                passed.headers.remove(CONTENT_TYPE);
            }
            for value in lines.get_all(name) {
                passed.headers.append(name.clone(), value.clone());
            }
        }
        self
    }

    /// Encodes the answer, without the rest of a long body. The answer to HEAD has no body, but has its
    /// length.
    pub(super) fn to_bytes(&self, now: SystemTime, to_head: bool) -> Vec<u8> {
        let mut head = Head::new(self.status, now);
        head.line("Connection", b"close");
        if let Some(passed) = &self.passed {
            // RFC 9110 sections 6.4.1 and 8.6: 204 and 304 have no body.
            let has_body = !matches!(self.status.as_u16(), 204 | 304);
            // Without a length, the body ends with the connection.
            if let Some(length) = passed.body.length.filter(|_| has_body) {
                head.line("Content-Length", length.to_string().as_bytes());
            }
            head.passed(&passed.headers);
            head.lines(&self.headers);
            let mut bytes = head.end();
            bytes.extend_from_slice(if has_body && !to_head { &passed.body.first } else { &[] });
            return bytes;
        }
        head.line("Content-Type", b"text/plain; charset=utf-8");
        head.line("Content-Length", (self.text.len() + 1).to_string().as_bytes());
        head.lines(&self.headers);
        let mut bytes = head.end();
        if !to_head {
            bytes.extend_from_slice(self.text.as_bytes());
            bytes.push(b'\n');
        }
        bytes
    }
}

/// The result of a lingering close.
pub(super) struct Lingered {
    /// The status, if the answer was sent whole.
    pub(super) status: Option<u16>,
    pub(super) transport_end: TransportEnd,
}

/// Writes an answer, sends FIN, and reads until the peer closes, for at most a second. A socket that
/// is closed with unread bytes sends RST, which can discard the answer before the peer reads it.
pub(super) async fn answer_and_linger<T: Transport>(
    mut socket: T,
    answer: &[u8],
    status: StatusCode,
    rest: Option<Rest>,
) -> Lingered {
    let mut answered = None;
    if let Some(rest) = rest {
        let deadline = rest.deadline;
        // A body that is not forwarded in time is cut off.
        let _ = timeout_at(deadline, forward(&mut socket, answer, rest)).await;
        answered = Some(status.as_u16());
    }
    let until = Instant::now() + LINGER;
    let linger = async {
        if answered.is_none() {
            socket.write_all(answer).await?;
            socket.flush().await?;
            answered = Some(status.as_u16());
        }
        socket.shutdown().await?;
        let mut drained = 0;
        while drained < LINGER_BYTES {
            match discard(&mut socket).await? {
                0 => return Ok(TransportEnd::Fin),
                read => drained += read,
            }
        }
        Ok::<_, io::Error>(TransportEnd::Local)
    };
    let transport_end = match timeout_at(until, linger).await {
        Ok(Ok(end)) => end,
        Ok(Err(error)) => LossKind::from(&error).transport_end(),
        Err(_) => TransportEnd::Timeout,
    };
    Lingered { status: answered, transport_end }
}

/// Reads and forgets; returns how many bytes came.
async fn discard<T: Transport>(socket: &mut T) -> io::Result<usize> {
    poll_fn(|cx| {
        Scratch::lend(&READ, |buffer| {
            let mut read = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *socket).poll_read(cx, &mut read))?;
            Poll::Ready(Ok(read.filled().len()))
        })
    })
    .await
}

/// Forwards a long answer.
async fn forward<T: Transport>(socket: &mut T, answer: &[u8], mut rest: Rest) -> io::Result<()> {
    socket.write_all(answer).await?;
    while let Some(data) = rest.next().await {
        socket.write_all(&data).await?;
    }
    socket.flush().await
}

/// Closes a connection whose answer was written, so that the peer can still read it. Returns how the
/// transport ended.
pub(in crate::transport) async fn lingering_close<T: Transport>(socket: T) -> TransportEnd {
    answer_and_linger(socket, &[], StatusCode::OK, None).await.transport_end
}

/// Returns the value of `Retry-After`: whole seconds, rounded up.
pub(crate) fn value_of_retry_after(wait: Duration) -> HeaderValue {
    HeaderValue::from(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}

/// Parses `Retry-After`: seconds, or a date, compared with our own clock.
pub(in crate::transport) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    wait_of(text, SystemTime::now())
}

/// Returns the wait that a `Retry-After` (RFC 9110 section 10.2.3) asks for. Pure.
fn wait_of(text: &str, now: SystemTime) -> Option<Duration> {
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        // A date in the past means no wait.
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
        }
    }
}

thread_local! {
    /// The last date that was formatted, which many answers within one second share.
    static LAST: Cell<(u64, [u8; 29])> = const { Cell::new((u64::MAX, [0; 29])) };
}

fn date(now: SystemTime) -> [u8; 29] {
    let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (last, mut written) = LAST.get();
    if last != second {
        let fresh = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
        // The length is always 29.
        if let Some(fresh) = fresh.as_bytes().first_chunk() {
            written = *fresh;
            LAST.set((second, written));
        }
    }
    written
}

/// A response head being encoded. Values cannot contain line ends: they are `HeaderValue`s, tokens,
/// or constants.
struct Head(Vec<u8>);

impl Head {
    fn new(status: StatusCode, now: SystemTime) -> Self {
        let reason = status.canonical_reason().unwrap_or_default();
        let mut head = Self(Vec::with_capacity(256));
        for part in ["HTTP/1.1 ", status.as_str(), " ", reason, "\r\n"] {
            head.0.extend_from_slice(part.as_bytes());
        }
        head.line("Date", &date(now));
        head
    }

    fn line(&mut self, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            self.0.extend_from_slice(part);
        }
    }

    fn lines(&mut self, lines: &[(&'static str, HeaderValue)]) {
        for (name, value) in lines {
            self.line(name, value.as_bytes());
        }
    }

    fn passed(&mut self, lines: &HeaderMap) {
        for (name, value) in lines {
            self.line(name.as_str(), value.as_bytes());
        }
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"\r\n");
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_formatted_correctly_with_and_without_the_cache() {
        for seconds in [784_111_777, 784_111_777, 784_111_778, 0, 1_709_208_000] {
            let now = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(date(now), httpdate::fmt_http_date(now).as_bytes());
        }
    }

    #[test]
    fn a_refusal_that_shows_another_line_keeps_its_header_lines() {
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, OpenFailure::Tls, "the reason")
            .retry_after(Duration::from_millis(1001))
            .showing("try again");
        let answer = String::from_utf8(refusal.to_bytes(UNIX_EPOCH, false)).unwrap();
        assert!(answer.contains("\r\nRetry-After: 2\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\ntry again\n"), "{answer}");
    }

    #[test]
    fn a_wait_is_asked_for_in_seconds_or_as_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        assert_eq!(wait_of("120", now), Some(Duration::from_secs(120)));
        let wait = wait_of("Sun, 06 Nov 1994 08:49:37 GMT", now);
        assert_eq!(wait, Some(Duration::from_secs(7)));
        let wait = wait_of("Sun, 06 Nov 1994 08:49:00 GMT", now);
        assert_eq!(wait, Some(Duration::ZERO));
        for nothing in ["", "-1", "soon", "1.5"] {
            assert_eq!(wait_of(nothing, now), None, "{nothing}");
        }
    }
}
