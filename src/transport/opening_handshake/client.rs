//! The client's half: send a request, judge the answer (RFC 6455 section 4.1).

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
use super::muted::{Muted, ReadEnd};
use super::request::{
    ACCEPT, EXTENSIONS, KEY, PROTOCOL, Subprotocol, VERSION, extension_name, extensions, has_token,
    only,
};
use super::unpinned;
use crate::policy::masking::record_location;
use crate::transport::handshake_key::{derive_accept_key, generate_key};
use crate::transport::socket::Transport;
use crate::vocabulary::{OpenFailure, TransportEnd};

/// How large the head of an answer may be.
const MAX_ANSWER: usize = 16 * 1024;

/// How many header lines it may have: applications set many cookies, and 32 bytes each are few.
pub(in crate::transport) const MAX_LINES: usize = 512;

/// What this end asks a server for.
#[derive(Debug, Clone)]
pub struct ClientRequest {
    host: HeaderValue,
    target: PathAndQuery,
    headers: HeaderMap,
    subprotocols: Vec<Subprotocol>,
    extensions: Vec<String>,
}

impl ClientRequest {
    /// Makes a request without header lines of its own.
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
        if let Some(name) = headers.keys().find(|name| is_reserved(name)) {
            return Err(ReservedHeader(name.clone()));
        }
        self.headers = headers;
        Ok(self)
    }

    /// Offers subprotocols, the most wanted first.
    #[must_use]
    pub fn with_subprotocols(mut self, subprotocols: Vec<Subprotocol>) -> Self {
        self.subprotocols = subprotocols;
        self
    }

    /// Offers extensions with their parameters, for a relay: whoever asks for them must read the
    /// frames that they change.
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

/// A header line that only the handshake itself may write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the header {0} belongs to the opening handshake: leave it out")]
pub struct ReservedHeader(HeaderName);

/// A socket on which the server answered 101: a connection.
#[derive(Debug)]
pub struct Opened<T> {
    /// The raw socket.
    pub socket: T,
    /// What came behind the answer in the same reads: the first bytes of the first frames.
    pub read_ahead: Bytes,
    /// What the server chose of the subprotocols that were offered.
    pub subprotocol: Option<Subprotocol>,
    /// The HTTP status of the answer: 101.
    pub status: u16,
    /// The header lines of the answer.
    pub headers: HeaderMap,
}

/// An attempt to open a connection on a dialled socket that failed.
#[derive(Debug, thiserror::Error)]
#[error("{failure}: {detail}")]
pub struct FailedOpening {
    /// Why. [`OpenFailure::UpgradeRejected`] has status 0 where the answer was not HTTP.
    pub failure: OpenFailure,
    /// The HTTP status that the server answered.
    pub status: Option<u16>,
    /// How long the server asked to wait (`Retry-After`).
    pub retry_after: Option<Duration>,
    /// One plain sentence for a person.
    pub detail: String,
    /// How the transport ended.
    pub transport_end: TransportEnd,
    /// The answer, where it was asked for and there was one.
    pub answer: Option<Answer>,
}

/// An answer other than 101.
#[derive(Debug)]
pub struct Answer {
    /// Its header lines.
    pub headers: HeaderMap,
    /// Its body; `None` if it did not come in time.
    pub body: Option<AnswerBody>,
}

/// Sends a request and hands on the raw socket once the server has answered 101.
///
/// # Errors
///
/// The attempt to be recorded: another status, a 101 that breaks RFC 6455 section 4.1, no answer
/// within `timeout`, or a server that went away.
///
/// # Cancel safety
///
/// Dropping the future drops the socket, with whatever was read or written so far.
pub async fn open<T: Transport>(
    socket: T,
    request: ClientRequest,
    timeout: Duration,
) -> Result<Opened<T>, Box<FailedOpening>> {
    open_or_answer(socket, request, timeout, 0).await
}

/// Like [`open`], for a relay: of an answer other than 101 the body is read too; of what is longer than
/// so many bytes the rest can be read as it comes.
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
) -> Result<Opened<T>, Box<FailedOpening>> {
    let deadline = Instant::now() + timeout;
    let key = generate_key();
    let bytes = request.to_bytes(&key);
    let write = async {
        socket.write_all(&bytes).await?;
        socket.flush().await
    };
    match timeout_at(deadline, write).await {
        Ok(Ok(())) => {}
        // The server may have answered before it reset: reading tells.
        Ok(Err(_)) => {}
        Err(_) => return Err(too_slow(timeout)),
    }
    let Some(read) = read_answer(socket, max_body, deadline).await else {
        return Err(too_slow(timeout));
    };
    match read? {
        ReadAnswer::Head(answer, socket, read_ahead) => {
            let subprotocol = judge(&answer, &key, &request)?;
            let (status, headers) = (answer.status.as_u16(), answer.headers);
            Ok(Opened { socket, read_ahead, subprotocol, status, headers })
        }
        ReadAnswer::Whole(answer, body) => {
            let mut failed = not_switching(&answer);
            failed.answer = Some(Answer { headers: answer.headers, body });
            Err(failed)
        }
    }
}

/// Judges an answer, pure, in the order of RFC 6455 section 4.1.
fn judge(
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
    if answer.version < Version::HTTP_11 {
        return Err(violation("is not HTTP/1.1"));
    }
    if !has_token(headers, header::UPGRADE, "websocket") {
        return Err(violation("lacks Upgrade: websocket"));
    }
    if !has_token(headers, header::CONNECTION, "upgrade") {
        return Err(violation("lacks Connection: Upgrade"));
    }
    if only(headers, ACCEPT)
        .is_none_or(|accept| accept.as_bytes() != derive_accept_key(key).as_bytes())
    {
        return Err(violation("does not answer our Sec-WebSocket-Key"));
    }
    if !extensions(headers).all(|agreed| {
        request.extensions.iter().any(|offer| extension_name(offer) == extension_name(&agreed))
    }) {
        return Err(violation("names an extension that was not offered"));
    }
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

/// An answer that was read.
enum ReadAnswer<T> {
    /// Its head, and what is left of the connection.
    Head(http::response::Parts, T, Bytes),
    /// Another than 101, with its body.
    Whole(http::response::Parts, Option<AnswerBody>),
}

/// Lets hyper read one answer, and takes the socket back the moment it is there; `None` if its head
/// does not come in time.
async fn read_answer<T: Transport>(
    socket: T,
    max_body: usize,
    deadline: Instant,
) -> Option<Result<ReadAnswer<T>, Box<FailedOpening>>> {
    let begun = http1::Builder::new()
        .max_header_size(MAX_ANSWER)
        .max_buf_size(MAX_ANSWER)
        .max_headers(MAX_LINES)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(Muted::speaking_first(socket)))
        .await;
    let (mut sender, http) = match begun {
        Ok(begun) => begun,
        Err(error) => return Some(Err(no_answer(None, Some(error)))),
    };
    // Boxed: hyper's state is large and needed for a moment, the caller's future is not.
    let mut http = Box::new(http);
    // hyper answers for a request, so it gets one to write to nowhere; ours has been sent.
    let mut response = pin!(sender.send_request(http::Request::new(Empty::new())));
    let mut http_is_done = false;
    let mut asked = false;
    let response = poll_fn(|cx| {
        // The first poll writes the request, and only then anything is read. An error, if there is
        // one, is the response's.
        if !std::mem::replace(&mut asked, true) {
            http_is_done = http.poll_without_shutdown(cx).is_ready();
        }
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
            let heard = http.into_parts().io.into_inner().into_heard();
            return Some(Err(no_answer(heard.end, failed.and_then(Result::err))));
        }
    };
    let (head, incoming) = response.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS || max_body == 0 {
        let parts = http.into_parts();
        let (socket, read_ahead) = (parts.io.into_inner().into_heard().socket, parts.read_buf);
        return Some(Ok(ReadAnswer::Head(head, socket, unpinned(&read_ahead))));
    }
    // hyper finishes by itself; of what it would say nothing reaches the wire.
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
            let detail = "the server left without a whole answer".to_owned();
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

fn is_reserved(name: &HeaderName) -> bool {
    let reserved = [
        header::HOST,
        header::UPGRADE,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        KEY,
        VERSION,
        ACCEPT,
        PROTOCOL,
        EXTENSIONS,
    ];
    reserved.contains(name)
}

#[cfg(test)]
mod tests;
