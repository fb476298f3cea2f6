//! The server's half: read a request, answer 101 or a refusal.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{Method, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use super::answer::{Agreement, Farewell, Refusal, say_farewell};
use super::muted::{Heard, Muted, ReadEnd};
use super::request::{Request, RequestFacts, Subprotocol};
use super::unpinned;
use super::waiting::{Waiting, joined};
use crate::protocol::classification::LossKind;
use crate::protocol::request_framing::Head;
use crate::transport::socket::Transport;
use crate::vocabulary::{OpenFailure, TransportEnd};

/// What a request may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeLimits {
    /// From the first look at the socket to the last byte of the 101.
    pub timeout: Duration,
    /// The request line and all header lines together.
    pub max_header_bytes: usize,
    /// The path and the query.
    pub max_target_bytes: usize,
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            max_header_bytes: 16 * 1024,
            max_target_bytes: 8 * 1024,
        }
    }
}

/// A socket on which 101 was answered: a connection.
#[derive(Debug)]
pub struct Accepted<T> {
    /// The raw socket.
    pub socket: T,
    /// What came behind the request in the same reads: the first bytes of the first frames.
    pub read_ahead: Bytes,
    /// What was asked.
    pub request: RequestFacts,
    /// What was agreed on.
    pub subprotocol: Option<Subprotocol>,
}

/// An attempt that never became a connection, and how its socket ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{failure}: {detail}")]
pub struct FailedHandshake {
    /// Why.
    pub failure: OpenFailure,
    /// The HTTP status that was answered, if an answer left whole.
    pub status: Option<u16>,
    /// What was asked, if that much could be read.
    pub request: Option<RequestFacts>,
    /// One plain sentence for a person.
    pub detail: String,
    /// How the transport ended.
    pub transport_end: TransportEnd,
}

/// Reads a request and answers as `decide` says: [`receive`], then [`Received::agree`] or
/// [`Received::refuse`].
///
/// # Errors
///
/// The attempt to be recorded. By then the peer has its answer, as far as it could be given.
///
/// # Cancel safety
///
/// Dropping the future drops the socket, with whatever was read or written so far.
pub async fn accept<T: Transport>(
    socket: T,
    limits: HandshakeLimits,
    decide: impl FnOnce(&Request) -> Result<Agreement, Refusal>,
) -> Result<Accepted<T>, Box<FailedHandshake>> {
    let received = receive(socket, limits).await?;
    match decide(received.request()) {
        Ok(agreement) => received.agree(agreement).await,
        Err(refusal) => Err(received.refuse(refusal).await),
    }
}

/// Reads a request, and refuses by itself what is none: unparsable (400), headers too large (431),
/// target too long (414), too slow (408).
///
/// # Errors
///
/// The attempt to be recorded.
///
/// # Cancel safety
///
/// As [`accept`].
pub async fn receive<T: Transport>(
    socket: T,
    limits: HandshakeLimits,
) -> Result<Received<T>, Box<FailedHandshake>> {
    receive_unless(socket, Bytes::new(), limits, limits.timeout, || Ok(())).await
}

/// Like [`receive`], on a socket of which `before` was read already; where the request is not there after so long, `overdue` says whether to go on.
///
/// # Errors
///
/// As [`receive`], and the refusal of `overdue`.
///
/// # Cancel safety
///
/// As [`accept`].
pub async fn receive_unless<T: Transport>(
    socket: T,
    before: Bytes,
    limits: HandshakeLimits,
    after: Duration,
    overdue: impl FnOnce() -> Result<(), Refusal>,
) -> Result<Received<T>, Box<FailedHandshake>> {
    let began = Instant::now();
    let deadline = began + limits.timeout;
    let patience = Patience { until: deadline.min(began + after), overdue, deadline };
    let socket = Muted::behind(socket, before);
    let (socket, read_ahead, all_read, head) = read_head(socket, &limits, patience).await;
    let request = match head {
        HeadRead::Request(request) => Request::new(*request),
        HeadRead::Refused(refusal) => return Err(refuse(socket, refusal, None).await),
        HeadRead::Gone { detail, transport_end } => {
            return Err(Box::new(FailedHandshake {
                failure: OpenFailure::PeerGone,
                status: None,
                request: None,
                detail,
                transport_end,
            }));
        }
    };
    let early = BytesMut::new();
    let received = Received { socket, read_ahead, early, all_read, request, facts: None, deadline };
    if received.request.target().len() > limits.max_target_bytes {
        return Err(received.refuse(target_too_long(&limits)).await);
    }
    if let Err(malformed) = Head::read(&received.all_read) {
        let text = malformed.to_string();
        let refusal = Refusal::new(StatusCode::BAD_REQUEST, OpenFailure::BadRequest, text);
        return Err(received.refuse(refusal).await);
    }
    match received.request.check_host() {
        Ok(()) => Ok(received),
        Err(refusal) => Err(received.refuse(refusal).await),
    }
}

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Received<T> {
    socket: T,
    read_ahead: Bytes,
    /// What came behind that while the peer waited for its answer.
    early: BytesMut,
    /// The request and what came behind it, as it was on the wire: hyper may have begun to take a
    /// body apart.
    all_read: Vec<u8>,
    request: Request,
    /// What a record keeps of it, once somebody has asked.
    facts: Option<RequestFacts>,
    deadline: Instant,
}

impl<T: Transport> Received<T> {
    /// Returns the request.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Returns what a record keeps of the request.
    pub fn facts(&mut self) -> &RequestFacts {
        self.facts.get_or_insert_with(|| self.request.facts())
    }

    /// Returns when the 101 must have left.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Returns the request, and its peer, that waits for the answer.
    pub fn waiting(&mut self) -> (&Request, Waiting<'_, T>) {
        (&self.request, Waiting::new(&mut self.socket, &mut self.early))
    }

    /// Lets go of a peer that has left without an answer.
    pub fn gone(self, loss: &LossKind) -> Box<FailedHandshake> {
        Box::new(FailedHandshake {
            failure: OpenFailure::PeerGone,
            status: None,
            request: Some(self.request.facts()),
            detail: format!("the peer left before it was answered: {loss}"),
            transport_end: loss.transport_end(),
        })
    }

    /// Hands the socket on with the request in front, as if nothing had been read: for a request that
    /// opens no WebSocket and is somebody else's.
    pub fn rewind(self) -> (T, Bytes) {
        (self.socket, self.all_read.into())
    }

    /// Gives the peer this long, from now on, to take its answer.
    pub fn give_time(&mut self, timeout: Duration) {
        self.deadline = Instant::now() + timeout;
    }

    /// Answers 101 and hands on the raw socket, once the answer has left whole.
    ///
    /// # Errors
    ///
    /// The attempt to be recorded: the peer is gone, or too slow to take the answer.
    ///
    /// # Cancel safety
    ///
    /// As [`accept`].
    pub async fn agree(
        mut self,
        agreement: Agreement,
    ) -> Result<Accepted<T>, Box<FailedHandshake>> {
        let answer = agreement.to_bytes(SystemTime::now());
        let write = async {
            self.socket.write_all(&answer).await?;
            self.socket.flush().await
        };
        let (failure, detail, transport_end) = match timeout_at(self.deadline, write).await {
            Ok(Ok(())) => {
                return Ok(Accepted {
                    socket: self.socket,
                    read_ahead: joined(self.read_ahead, &self.early),
                    request: self.facts.unwrap_or_else(|| self.request.facts()),
                    subprotocol: agreement.agreed_subprotocol(),
                });
            }
            Ok(Err(error)) => {
                let end = LossKind::from(&error);
                let detail = format!("the peer was gone before the 101 could be written: {end}");
                (OpenFailure::PeerGone, detail, end.transport_end())
            }
            Err(_) => {
                let detail = "the peer did not take the 101 in time".to_owned();
                (OpenFailure::HandshakeTimeout, detail, TransportEnd::Local)
            }
        };
        let request = Some(self.request.facts());
        Err(Box::new(FailedHandshake { failure, status: None, request, detail, transport_end }))
    }

    /// Answers with a refusal, and sees the peer off for at most a second.
    ///
    /// # Cancel safety
    ///
    /// As [`accept`].
    pub async fn refuse(self, refusal: Refusal) -> Box<FailedHandshake> {
        refuse(self.socket, refusal, Some(&self.request)).await
    }
}

async fn refuse<T: Transport>(
    socket: T,
    mut refusal: Refusal,
    request: Option<&Request>,
) -> Box<FailedHandshake> {
    let to_head = request.is_some_and(|request| request.method() == Method::HEAD);
    let facts = request.map(Request::facts);
    let answer = refusal.to_bytes(SystemTime::now(), to_head);
    let rest = refusal.passed.as_mut().and_then(|passed| passed.body.rest.take());
    let rest = rest.filter(|_| !to_head);
    let Farewell { status, transport_end } =
        say_farewell(socket, &answer, refusal.status, rest).await;
    Box::new(FailedHandshake {
        failure: refusal.failure,
        status,
        request: facts,
        detail: refusal.text,
        transport_end,
    })
}

enum HeadRead {
    Request(Box<http::request::Parts>),
    Refused(Refusal),
    Gone { detail: String, transport_end: TransportEnd },
}

/// How long a request is waited for.
struct Patience<F> {
    /// When it is overdue.
    until: Instant,
    /// Asked then whether to go on.
    overdue: F,
    deadline: Instant,
}

/// Lets hyper read one request, and takes the socket back the moment it is there.
async fn read_head<T: Transport>(
    socket: Muted<T>,
    limits: &HandshakeLimits,
    patience: Patience<impl FnOnce() -> Result<(), Refusal>>,
) -> (T, Bytes, Vec<u8>, HeadRead) {
    let slot = Arc::new(OnceLock::new());
    let service = {
        let slot = Arc::clone(&slot);
        service_fn(move |request: http::Request<Incoming>| {
            // A second request cannot come: the first is never answered.
            let _ = slot.set(request.into_parts().0);
            pending::<Result<Response<Empty<Bytes>>, Infallible>>()
        })
    };
    // Boxed: hyper's state is large and needed for a moment, the caller's future is not.
    let mut http = Box::new(
        http1::Builder::new()
            // Else hyper would read on, to notice EOF while the service is busy.
            .half_close(true)
            // Ours covers more than the headers, and is answered.
            .header_read_timeout(None)
            .max_header_size(limits.max_header_bytes)
            .max_buf_size(limits.max_header_bytes.max(HYPER_MIN_BUFFER))
            .serve_connection(TokioIo::new(socket), service),
    );
    let mut run = poll_fn(|cx| {
        let polled = http.poll_without_shutdown(cx);
        if slot.get().is_some() { Poll::Ready(Ok(())) } else { polled }
    });
    let Patience { until, overdue, deadline } = patience;
    let mut refused = None;
    let ran = match timeout_at(until, &mut run).await {
        Err(elapsed) if until < deadline => match overdue() {
            Ok(()) => timeout_at(deadline, run).await,
            Err(refusal) => {
                refused = Some(refusal);
                Err(elapsed)
            }
        },
        ran => ran,
    };
    let parts = http.into_parts();
    drop(parts.service);
    let mut heard = parts.io.into_inner().into_heard();
    let all_read = std::mem::take(&mut heard.all_read);

    let head = match (Arc::into_inner(slot).and_then(OnceLock::into_inner), ran) {
        (Some(request), _) => HeadRead::Request(Box::new(request)),
        (None, _) if let Some(refusal) = refused => HeadRead::Refused(refusal),
        (None, Err(_)) => HeadRead::Refused(too_slow(limits, heard.received)),
        (None, Ok(ran)) => judge_failure(&heard, &parts.read_buf, ran.err(), limits),
    };
    (heard.socket, unpinned(&parts.read_buf), all_read, head)
}

/// hyper panics when told less.
const HYPER_MIN_BUFFER: usize = 8192;

/// Says why hyper gave up without a request.
fn judge_failure<T>(
    heard: &Heard<T>,
    unparsed: &[u8],
    error: Option<hyper::Error>,
    limits: &HandshakeLimits,
) -> HeadRead {
    if let Some(status) = heard.status {
        return HeadRead::Refused(match status {
            StatusCode::URI_TOO_LONG => target_too_long(limits),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
                if target_len(unparsed) > limits.max_target_bytes =>
            {
                target_too_long(limits)
            }
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => headers_too_large(limits),
            _ => unparsable(&heard.opening, error),
        });
    }
    match &heard.end {
        Some(ReadEnd::Fin) => HeadRead::Gone {
            detail: match heard.received {
                0 => "the peer left without a word".to_owned(),
                n => format!("the peer left after {n} bytes of a request that was not complete"),
            },
            transport_end: TransportEnd::Fin,
        },
        Some(ReadEnd::Error(end)) => HeadRead::Gone {
            detail: format!("the connection ended before there was a request: {end}"),
            transport_end: end.transport_end(),
        },
        // HTTP/2 is refused by hyper without a word.
        None => HeadRead::Refused(unparsable(&heard.opening, error)),
    }
}

/// How long the target is, of a request line that may be cut off.
fn target_len(unparsed: &[u8]) -> usize {
    let mut words = unparsed.trim_ascii_start().split(|byte| byte.is_ascii_whitespace());
    words.nth(1).map_or(0, <[u8]>::len)
}

fn unparsable(opening: &[u8], error: Option<hyper::Error>) -> Refusal {
    let text = if opening.first() == Some(&0x16) {
        "this port speaks plain HTTP, and this is TLS: use ws:// instead of wss://".to_owned()
    } else if opening.starts_with(b"PRI * HTTP/2") {
        "this port speaks HTTP/1.1, and this is HTTP/2: WebSockets need HTTP/1.1".to_owned()
    } else if opening.starts_with(b"PROXY ") || opening.starts_with(b"\r\n\r\n\0\r\nQUIT\n") {
        "this port speaks plain HTTP and expects no PROXY protocol: the proxy must not send it"
            .to_owned()
    } else {
        let why = error.map_or_else(|| "it cannot be parsed".to_owned(), |error| error.to_string());
        format!("this port speaks plain HTTP, and this is no request: {why}")
    };
    Refusal::new(StatusCode::BAD_REQUEST, OpenFailure::BadRequest, text)
}

fn headers_too_large(limits: &HandshakeLimits) -> Refusal {
    let text = format!(
        "the request has more than 100 header lines or {} bytes of them: send less, cookies are the usual cause",
        limits.max_header_bytes
    );
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    Refusal::new(status, OpenFailure::BadRequest, text)
}

fn target_too_long(limits: &HandshakeLimits) -> Refusal {
    let text = format!(
        "the path and query have more than {} bytes: send the rest in a message",
        limits.max_target_bytes
    );
    Refusal::new(StatusCode::URI_TOO_LONG, OpenFailure::BadRequest, text)
}

fn too_slow(limits: &HandshakeLimits, received: u64) -> Refusal {
    let text = format!(
        "the request was not complete within {:?}, {received} bytes of it came: send it at once",
        limits.timeout
    );
    Refusal::new(StatusCode::REQUEST_TIMEOUT, OpenFailure::HandshakeTimeout, text)
}

#[cfg(test)]
mod tests;
