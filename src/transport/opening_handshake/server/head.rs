//! Reads the head of a request, in memory that grows with the bytes received.
//!
//! hyper parses the head, but would hold 8 to 32 KiB for each slow peer. So the bytes are collected in
//! a vector of about their size, and hyper is run only when its result may change: on the first bytes,
//! which may not be HTTP at all, on the possible end of the head, and at the end of the stream or of
//! the allowed size.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, timeout_at};

use crate::protocol::proxy_header;
use crate::runtime::scratch::Scratch;
use crate::transport::opening_handshake::answer::Refusal;
use crate::transport::opening_handshake::discard_writes::{DiscardWrites, Parts, ReadEnd};
use crate::transport::opening_handshake::{READ, READ_SIZE};
use crate::transport::socket::Transport;
use crate::vocabulary::{OpenFailure, TransportEnd};

/// The limits on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeLimits {
    /// The time from accepting the socket to sending the 101.
    pub timeout: Duration,
    /// The size of the request line and all header lines together.
    pub max_header_bytes: usize,
    /// The size of the path and the query.
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

/// hyper panics with a smaller buffer.
const HYPER_MIN_BUFFER: usize = 8192;

/// The `Retry-After` of a refusal for lack of memory.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The budget to which the memory of a head is charged.
pub trait HeadRoom: Send {
    /// Charges the head with `bytes` of memory in total, and returns whether the budget allows that.
    fn grow(&mut self, bytes: usize) -> bool;
}

/// No budget.
impl HeadRoom for () {
    fn grow(&mut self, _bytes: usize) -> bool {
        true
    }
}

/// The result of reading a head.
pub(super) enum HeadRead {
    Request(Box<http::request::Parts>),
    Refused(Refusal),
    Gone { detail: String, transport_end: TransportEnd },
}

/// The deadlines of a request.
pub(super) struct Deadlines<F> {
    /// When the request is overdue.
    pub(super) overdue_at: Instant,
    /// Decides then whether to go on reading.
    pub(super) overdue: F,
    pub(super) deadline: Instant,
}

/// Reads one request, of which `before` was read already. Returns the socket, the bytes after the head,
/// all bytes that were read, and the result.
pub(super) async fn read_head<T: Transport>(
    mut socket: T,
    before: Bytes,
    limits: &HandshakeLimits,
    deadlines: Deadlines<impl FnOnce() -> Result<(), Refusal>>,
    room: &mut impl HeadRoom,
) -> (T, Bytes, Vec<u8>, HeadRead) {
    let Deadlines { overdue_at, overdue, deadline } = deadlines;
    let mut overdue = Some(overdue).filter(|_| overdue_at < deadline);
    let most = limits.max_header_bytes.max(HYPER_MIN_BUFFER);
    let mut received = before.to_vec();
    drop(before);
    if !room.grow(received.capacity()) {
        return (socket, Bytes::new(), received, HeadRead::Refused(no_room()));
    }
    // What was read before is parsed first.
    let mut parsed = 0;
    loop {
        let end = if parsed == received.len() {
            let read = poll_fn(|cx| poll_read(cx, &mut socket, &mut received, room));
            let until = if overdue.is_some() { overdue_at } else { deadline };
            let read = match (timeout_at(until, read).await, &mut overdue) {
                (Ok(Ok(end)), _) => Ok(end),
                (Ok(Err(NoRoom)), _) => Err(no_room()),
                (Err(_), overdue) => match overdue.take() {
                    Some(overdue) => match overdue() {
                        Ok(()) => continue,
                        Err(refusal) => Err(refusal),
                    },
                    None => Err(too_slow(limits, received.len())),
                },
            };
            match read {
                Ok(end) => end,
                Err(refusal) => {
                    return (socket, Bytes::new(), received, HeadRead::Refused(refusal));
                }
            }
        } else {
            None
        };
        let fresh = std::mem::replace(&mut parsed, received.len());
        let is_over = end.is_some() || received.len() >= most;
        if fresh > 0 && !is_over && !may_end(&received, fresh) {
            continue;
        }
        let (replay, read_ahead, head) =
            parse(Replay { bytes: received, at: 0, end }, limits).await;
        received = replay.bytes;
        match head {
            Some(head) => return (socket, read_ahead, received, head),
            None if is_over => {
                let refusal = headers_too_large(limits);
                return (socket, Bytes::new(), received, HeadRead::Refused(refusal));
            }
            None => {}
        }
    }
}

/// The memory budget does not allow the bytes that were read.
struct NoRoom;

/// Reads once, and appends the bytes to `received`. Returns how reading ended, if it has.
fn poll_read<T: Transport>(
    cx: &mut Context<'_>,
    socket: &mut T,
    received: &mut Vec<u8>,
    room: &mut impl HeadRoom,
) -> Poll<Result<Option<End>, NoRoom>> {
    Scratch::lend(&READ, |buffer| {
        let mut buf = ReadBuf::new(buffer);
        match Pin::new(socket).poll_read(cx, &mut buf) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Ok(Some(End::Error(Some(error))))),
            Poll::Ready(Ok(())) => {}
        }
        let read = buf.filled();
        if read.is_empty() {
            return Poll::Ready(Ok(Some(End::Fin)));
        }
        let needed = received.len() + read.len();
        if needed > received.capacity() {
            // A head received at once takes no more than its size; a slow one doubles its capacity.
            let capacity = needed.max((2 * received.capacity()).min(READ_SIZE));
            if !room.grow(capacity) {
                return Poll::Ready(Err(NoRoom));
            }
            received.reserve_exact(capacity - received.len());
        }
        received.extend_from_slice(read);
        Poll::Ready(Ok(None))
    })
}

/// Returns whether a head may end in the bytes from `before` on, that is, with an empty line.
fn may_end(received: &[u8], before: usize) -> bool {
    let fresh = &received[before.saturating_sub(3)..];
    fresh.windows(2).any(|two| two == b"\n\n") || fresh.windows(3).any(|three| three == b"\n\r\n")
}

/// How reading ended.
enum End {
    Fin,
    /// The error, which is taken by the first read.
    Error(Option<io::Error>),
}

/// A stream of the bytes that were received.
struct Replay {
    bytes: Vec<u8>,
    at: usize,
    end: Option<End>,
}

impl AsyncRead for Replay {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let rest = &this.bytes[this.at..];
        if !rest.is_empty() {
            let len = rest.len().min(buf.remaining());
            buf.put_slice(&rest[..len]);
            this.at += len;
            return Poll::Ready(Ok(()));
        }
        match &mut this.end {
            // With more bytes a new stream is made, so no waker is registered.
            None => Poll::Pending,
            Some(End::Error(error)) => Poll::Ready(error.take().map_or(Ok(()), Err)),
            Some(End::Fin) => Poll::Ready(Ok(())),
        }
    }
}

/// Lets hyper parse a request from the received bytes; `None` if it needs more.
async fn parse(replay: Replay, limits: &HandshakeLimits) -> (Replay, Bytes, Option<HeadRead>) {
    let slot = Arc::new(OnceLock::new());
    let service = {
        let slot = Arc::clone(&slot);
        service_fn(move |request: http::Request<Incoming>| {
            // There is no second request, because the first is never answered.
            let _ = slot.set(request.into_parts().0);
            pending::<Result<Response<Empty<Bytes>>, Infallible>>()
        })
    };
    // Boxed, because hyper's state is large and short-lived.
    let mut http = Box::new(
        http1::Builder::new()
            // Otherwise hyper would read on to notice EOF while the service is busy.
            .half_close(true)
            // Our own deadline covers more than the headers, and is answered with 408.
            .header_read_timeout(None)
            .max_header_size(limits.max_header_bytes)
            .max_buf_size(limits.max_header_bytes.max(HYPER_MIN_BUFFER))
            .serve_connection(TokioIo::new(DiscardWrites::new(replay)), service),
    );
    // All input is available, so hyper is pending only if it needs more bytes; but it may also yield.
    let ran = poll_fn(|cx| {
        for _ in 0..4 {
            let polled = http.poll_without_shutdown(cx);
            if slot.get().is_some() {
                return Poll::Ready(None);
            }
            if let Poll::Ready(ran) = polled {
                return Poll::Ready(Some(ran));
            }
        }
        Poll::Ready(None)
    })
    .await;
    let parts = http.into_parts();
    drop(parts.service);
    let stream = parts.io.into_inner().into_parts();
    let head = match (Arc::into_inner(slot).and_then(OnceLock::into_inner), ran) {
        (Some(request), _) => Some(HeadRead::Request(Box::new(request))),
        (None, Some(ran)) => Some(judge_failure(&stream, &parts.read_buf, ran.err(), limits)),
        (None, None) => None,
    };
    // A copy, because even an empty slice would keep hyper's buffer alive as long as the connection.
    let replay = stream.socket;
    let read_ahead = [&parts.read_buf[..], &replay.bytes[replay.at..]].concat();
    (replay, read_ahead.into(), head)
}

/// Returns why hyper gave up without a request.
fn judge_failure<T>(
    stream: &Parts<T>,
    unparsed: &[u8],
    error: Option<hyper::Error>,
    limits: &HandshakeLimits,
) -> HeadRead {
    if let Some(status) = stream.status {
        return HeadRead::Refused(match status {
            StatusCode::URI_TOO_LONG => target_too_long(limits),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
                if target_len(unparsed) > limits.max_target_bytes =>
            {
                target_too_long(limits)
            }
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => headers_too_large(limits),
            _ => unparsable(&stream.first_bytes, error),
        });
    }
    match &stream.end {
        Some(ReadEnd::Fin) => HeadRead::Gone {
            detail: match stream.received {
                0 => "the peer closed the connection without sending anything".to_owned(),
                n => format!("the peer left after {n} bytes of an incomplete request"),
            },
            transport_end: TransportEnd::Fin,
        },
        Some(ReadEnd::Error(end)) => HeadRead::Gone {
            detail: format!("the connection ended before there was a request: {end}"),
            transport_end: end.transport_end(),
        },
        // hyper refuses HTTP/2 without writing an answer.
        None => HeadRead::Refused(unparsable(&stream.first_bytes, error)),
    }
}

/// Returns the length of the target in a request line that may be incomplete.
fn target_len(unparsed: &[u8]) -> usize {
    let mut words = unparsed.trim_ascii_start().split(|byte| byte.is_ascii_whitespace());
    words.nth(1).map_or(0, <[u8]>::len)
}

fn unparsable(opening: &[u8], error: Option<hyper::Error>) -> Refusal {
    let text = if opening.first() == Some(&0x16) {
        "this port speaks plain HTTP, and this is TLS: use ws:// instead of wss://".to_owned()
    } else if opening.starts_with(b"PRI * HTTP/2") {
        "this port speaks HTTP/1.1, and this is HTTP/2: WebSockets need HTTP/1.1".to_owned()
    } else if proxy_header::begins_header(opening) {
        let (status, failure) = (StatusCode::FORBIDDEN, OpenFailure::UntrustedProxy);
        return Refusal::new(status, failure, proxy_header::NOT_TAKEN);
    } else {
        let why = error.map_or_else(|| "it cannot be parsed".to_owned(), |error| error.to_string());
        format!("this port speaks plain HTTP, and this is not a request: {why}")
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

pub(super) fn target_too_long(limits: &HandshakeLimits) -> Refusal {
    let text = format!(
        "the path and query have more than {} bytes: send the rest in a message",
        limits.max_target_bytes
    );
    Refusal::new(StatusCode::URI_TOO_LONG, OpenFailure::BadRequest, text)
}

fn too_slow(limits: &HandshakeLimits, received: usize) -> Refusal {
    let text = format!(
        "the request was not complete within {:?}, {received} bytes of it came: send it at once",
        limits.timeout
    );
    Refusal::new(StatusCode::REQUEST_TIMEOUT, OpenFailure::HandshakeTimeout, text)
}

fn no_room() -> Refusal {
    let text = "too many requests are half received here: try again later, and send it at once";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, OpenFailure::RefusedLimit, text)
        .retry_after(RETRY_AFTER)
}
