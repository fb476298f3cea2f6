//! The client's half of the opening handshake: send a request, check the answer (RFC 6455 section 4.1).

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use super::answer::retry_after;
use super::answer_body::{AnswerBody, Driver};
use super::discard_writes::{DiscardWrites, ReadEnd};
use super::names::{ACCEPT, PROTOCOL, Subprotocol};
use super::request::{extension_name, extensions, has_token, only};
use super::unpinned;
use crate::policy::masking::record_location;
use crate::protocol::header_names::is_reserved;
use crate::transport::handshake_key::{derive_accept_key, generate_key};
use crate::transport::socket::Transport;
use crate::vocabulary::{OpenFailure, TransportEnd};

/// The largest head of an answer, in bytes.
const MAX_ANSWER: usize = 16 * 1024;

/// The most header lines of an answer; applications may set many cookies.
pub(in crate::transport) const MAX_LINES: usize = 512;

/// The request of an opening handshake.
#[derive(Debug, Clone)]
pub struct ClientRequest {
    host: HeaderValue,
    target: PathAndQuery,
    headers: HeaderMap,
    subprotocols: Vec<Subprotocol>,
    extensions: Vec<String>,
}

impl ClientRequest {
    /// Makes a request without additional header lines.
    pub fn new(host: HeaderValue, target: PathAndQuery) -> Self {
        Self {
            host,
            target,
            headers: HeaderMap::new(),
            subprotocols: Vec::new(),
            extensions: Vec::new(),
        }
    }

    /// Adds header lines.
    ///
    /// # Errors
    ///
    /// One of them belongs to the handshake itself.
    pub fn with_headers(mut self, headers: HeaderMap) -> Result<Self, ReservedHeader> {
        if let Some(name) = headers.keys().find(|name| is_reserved(name.as_str())) {
            return Err(ReservedHeader(name.clone()));
        }
        self.headers = headers;
        Ok(self)
    }

    /// Offers subprotocols, in order of preference.
    #[must_use]
    pub fn with_subprotocols(mut self, subprotocols: Vec<Subprotocol>) -> Self {
        self.subprotocols = subprotocols;
        self
    }

    /// Offers extensions with their parameters. Only a relay does, because the frames that they change
    /// are not decoded here.
    #[must_use]
    pub fn with_extensions(mut self, extensions: Vec<String>) -> Self {
        self.extensions = extensions;
        self
    }

    fn to_bytes(&self, key: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        let mut line = |parts: &[&[u8]]| {
            for part in parts {
                bytes.extend_from_slice(part);
            }
            bytes.extend_from_slice(b"\r\n");
        };
        line(&[b"GET ", self.target.as_str().as_bytes(), b" HTTP/1.1"]);
        line(&[b"Host: ", self.host.as_bytes()]);
        line(&[b"Upgrade: websocket"]);
        line(&[b"Connection: Upgrade"]);
        line(&[b"Sec-WebSocket-Version: 13"]);
        line(&[b"Sec-WebSocket-Key: ", key.as_bytes()]);
        if !self.subprotocols.is_empty() {
            let names: Vec<_> = self.subprotocols.iter().map(Subprotocol::as_str).collect();
            line(&[b"Sec-WebSocket-Protocol: ", names.join(", ").as_bytes()]);
        }
        if !self.extensions.is_empty() {
            let offers = self.extensions.join(", ");
            line(&[b"Sec-WebSocket-Extensions: ", offers.as_bytes()]);
        }
        for (name, value) in &self.headers {
            line(&[name.as_str().as_bytes(), b": ", value.as_bytes()]);
        }
        line(&[]);
        bytes
    }
}

/// A header that only the handshake itself may set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the header {0} belongs to the opening handshake: leave it out")]
pub struct ReservedHeader(HeaderName);

/// A socket on which the server answered 101: an open connection.
#[derive(Debug)]
pub struct OpenedSocket<T> {
    /// The raw socket.
    pub socket: T,
    /// The bytes after the answer that were already read: the beginning of the first frames.
    pub read_ahead: Bytes,
    /// The subprotocol that the server chose.
    pub subprotocol: Option<Subprotocol>,
    /// The HTTP status of the answer: 101.
    pub status: u16,
    /// The header lines of the answer.
    pub headers: HeaderMap,
}

/// A failed opening handshake on a dialled socket.
#[derive(Debug, thiserror::Error)]
#[error("{failure}: {detail}")]
pub struct FailedOpening {
    /// The failure. [`OpenFailure::UpgradeRejected`] has status 0 if the answer was not HTTP.
    pub failure: OpenFailure,
    /// The HTTP status that the server answered.
    pub status: Option<u16>,
    /// The server's `Retry-After`.
    pub retry_after: Option<Duration>,
    /// One sentence for people.
    pub detail: String,
    /// How the transport ended.
    pub transport_end: TransportEnd,
    /// The answer, if it was requested and received.
    pub answer: Option<Answer>,
}

/// An answer other than 101.
#[derive(Debug)]
pub struct Answer {
    /// Its header lines.
    pub headers: HeaderMap,
    /// Its body; `None` if it was not received in time.
    pub body: Option<AnswerBody>,
}

/// Sends a request, and returns the raw socket once the server has answered 101.
///
/// # Errors
///
/// The failure to record: another status, a 101 that violates RFC 6455 section 4.1, no answer within
/// `timeout`, or a server that closed the connection.
///
/// # Cancel safety
///
/// Dropping the future drops the socket, with whatever was read or written so far.
pub async fn open<T: Transport>(
    socket: T,
    request: ClientRequest,
    timeout: Duration,
) -> Result<OpenedSocket<T>, Box<FailedOpening>> {
    open_or_answer(socket, request, timeout, 0).await
}

/// Like [`open`], for a relay: the body of an answer other than 101 is read too, and if it is longer
/// than `max_body` bytes, the rest can be streamed.
///
/// # Errors
///
/// As [`open`].
///
/// # Cancel safety
///
/// As [`open`].
pub async fn open_or_answer<T: Transport>(
    mut socket: T,
    request: ClientRequest,
    timeout: Duration,
    max_body: usize,
) -> Result<OpenedSocket<T>, Box<FailedOpening>> {
    let deadline = Instant::now() + timeout;
    let key = generate_key();
    let bytes = request.to_bytes(&key);
    let write = async {
        socket.write_all(&bytes).await?;
        socket.flush().await
    };
    match timeout_at(deadline, write).await {
        Ok(Ok(())) => {}
        // The server may have answered before the write failed, so read all the same.
        Ok(Err(_)) => {}
        Err(_) => return Err(too_slow(timeout)),
    }
    let Some(read) = read_answer(socket, max_body, deadline).await else {
        return Err(too_slow(timeout));
    };
    match read? {
        ReadAnswer::Head(answer, socket, read_ahead) => {
            let subprotocol = check(&answer, &key, &request)?;
            let (status, headers) = (answer.status.as_u16(), answer.headers);
            Ok(OpenedSocket { socket, read_ahead, subprotocol, status, headers })
        }
        ReadAnswer::Whole(answer, body) => {
            let mut failed = not_switching(&answer);
            failed.answer = Some(Answer { headers: answer.headers, body });
            Err(failed)
        }
    }
}

/// Checks an answer, in the order of RFC 6455 section 4.1. Pure.
fn check(
    answer: &http::response::Parts,
    key: &str,
    request: &ClientRequest,
) -> Result<Option<Subprotocol>, Box<FailedOpening>> {
    let headers = &answer.headers;
    let offered = &request.subprotocols;
    if answer.status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(not_switching(answer));
    }
    let violation = |what: &str| rejected(answer, format!("the server's 101 {what}"));
    // Section 4.1, on the server's response.
    if answer.version < Version::HTTP_11 {
        return Err(violation("is not HTTP/1.1"));
    }
    // Number 2.
    if !has_token(headers, header::UPGRADE, "websocket") {
        return Err(violation("lacks Upgrade: websocket"));
    }
    // Number 3.
    if !has_token(headers, header::CONNECTION, "upgrade") {
        return Err(violation("lacks Connection: Upgrade"));
    }
    // Number 4.
    if only(headers, ACCEPT)
        .is_none_or(|accept| accept.as_bytes() != derive_accept_key(key).as_bytes())
    {
        return Err(violation("does not answer our Sec-WebSocket-Key"));
    }
    // Number 5.
    if !extensions(headers).all(|agreed| {
        request.extensions.iter().any(|offer| extension_name(offer) == extension_name(&agreed))
    }) {
        return Err(violation("names an extension that was not offered"));
    }
    // Number 6.
    if !headers.contains_key(PROTOCOL) {
        return Ok(None);
    }
    let chosen = only(headers, PROTOCOL)
        .and_then(|name| offered.iter().find(|ours| ours.as_str().as_bytes() == name.as_bytes()));
    match chosen {
        Some(chosen) => Ok(Some(chosen.clone())),
        None => Err(violation("names a subprotocol that was not offered")),
    }
}

/// Rejects an answer that is not 101.
fn not_switching(answer: &http::response::Parts) -> Box<FailedOpening> {
    let location = answer.headers.get(header::LOCATION);
    let detail = match location.map(|to| String::from_utf8_lossy(to.as_bytes())) {
        Some(to) => format!("the server answered {}, to {}", answer.status, record_location(&to)),
        None => format!("the server answered {}", answer.status),
    };
    rejected(answer, detail)
}

/// The result of reading an answer.
enum ReadAnswer<T> {
    /// The head, and the socket with the bytes after it.
    Head(http::response::Parts, T, Bytes),
    /// An answer other than 101, with its body.
    Whole(http::response::Parts, Option<AnswerBody>),
}

/// Lets hyper read one answer, and takes the socket back as soon as it is parsed; `None` if its head
/// is not received in time.
async fn read_answer<T: Transport>(
    socket: T,
    max_body: usize,
    deadline: Instant,
) -> Option<Result<ReadAnswer<T>, Box<FailedOpening>>> {
    let begun = http1::Builder::new()
        .max_header_size(MAX_ANSWER)
        .max_buf_size(MAX_ANSWER)
        .max_headers(MAX_LINES)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(DiscardWrites::write_first(socket)))
        .await;
    let (mut sender, http) = match begun {
        Ok(begun) => begun,
        Err(error) => return Some(Err(no_answer(None, Some(error)))),
    };
    // Boxed, because hyper's state is large and short-lived.
    let mut http = Box::new(http);
    // hyper reads a response only for a request, so it gets one whose bytes are discarded; ours has
    // been sent already.
    let mut response = pin!(sender.send_request(http::Request::new(Empty::new())));
    let mut http_is_done = false;
    let response = poll_fn(|cx| {
        // Errors are returned by the response future.
        if !http_is_done {
            http_is_done = http.poll_without_shutdown(cx).is_ready();
        }
        match response.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending if http_is_done => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    let response = timeout_at(deadline, response).await.ok()?;
    let response = match response {
        Some(Ok(response)) => response,
        failed => {
            let parts = http.into_parts().io.into_inner().into_parts();
            return Some(Err(no_answer(parts.end, failed.and_then(Result::err))));
        }
    };
    let (head, incoming) = response.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS || max_body == 0 {
        let parts = http.into_parts();
        let (socket, read_ahead) = (parts.io.into_inner().into_parts().socket, parts.read_buf);
        return Some(Ok(ReadAnswer::Head(head, socket, unpinned(&read_ahead))));
    }
    // hyper goes on reading the body by itself; what it writes is discarded.
    let driver = (!http_is_done).then(|| Box::into_pin(http) as Driver);
    let body = AnswerBody::read(incoming, driver, max_body, deadline).await;
    Some(Ok(ReadAnswer::Whole(head, body)))
}

fn no_answer(end: Option<ReadEnd>, error: Option<hyper::Error>) -> Box<FailedOpening> {
    let unparsable = error.filter(hyper::Error::is_parse);
    let (failure, detail, transport_end) = match (unparsable, end) {
        (Some(error), _) if error.is_parse_too_large() => {
            let detail = format!(
                "the head of the server's answer has more than {MAX_LINES} lines or {MAX_ANSWER} bytes"
            );
            (OpenFailure::UpgradeRejected { status: 0 }, detail, TransportEnd::Local)
        }
        (Some(error), _) => {
            let detail = format!("the server's answer is not HTTP: {error}");
            (OpenFailure::UpgradeRejected { status: 0 }, detail, TransportEnd::Local)
        }
        (None, Some(ReadEnd::Error(end))) => {
            let detail = format!("the connection ended before there was an answer: {end}");
            (OpenFailure::PeerGone, detail, end.transport_end())
        }
        (None, Some(ReadEnd::Fin) | None) => {
            let detail = "the server closed the connection without a complete answer".to_owned();
            (OpenFailure::PeerGone, detail, TransportEnd::Fin)
        }
    };
    Box::new(FailedOpening {
        failure,
        status: None,
        retry_after: None,
        detail,
        transport_end,
        answer: None,
    })
}

fn rejected(answer: &http::response::Parts, detail: String) -> Box<FailedOpening> {
    let status = answer.status.as_u16();
    Box::new(FailedOpening {
        failure: OpenFailure::UpgradeRejected { status },
        status: Some(status),
        retry_after: retry_after(&answer.headers),
        detail,
        transport_end: TransportEnd::Local,
        answer: None,
    })
}

fn too_slow(timeout: Duration) -> Box<FailedOpening> {
    Box::new(FailedOpening {
        failure: OpenFailure::HandshakeTimeout,
        status: None,
        retry_after: None,
        detail: format!("the server did not answer within {timeout:?}"),
        transport_end: TransportEnd::Local,
        answer: None,
    })
}

#[cfg(test)]
mod tests;
