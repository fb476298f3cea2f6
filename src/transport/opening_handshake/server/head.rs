//! Reads the head of a request, in memory that grows with what has come of it.
//!
//! hyper takes heads apart, and would hold 8 to 32 KiB for each peer that takes its time. So bytes
//! are collected here, in a vector of about their size, and hyper is asked only where its answer may
//! be another: for what came first, which may be no HTTP at all, for the end of the head, and at the
//! end of the stream or of the room.

use std::cell::RefCell;
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

use super::HandshakeLimits;
use crate::transport::opening_handshake::answer::Refusal;
use crate::transport::opening_handshake::muted::{Heard, Muted, ReadEnd};
use crate::transport::socket::Transport;
use crate::vocabulary::{OpenFailure, TransportEnd};

/// How much is read at a time, in bytes.
const READ: usize = 16 * 1024;

/// hyper panics when told less.
const HYPER_MIN_BUFFER: usize = 8192;

/// How a peer that found no room is asked to wait.
const RETRY_AFTER: Duration = Duration::from_secs(5);

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// Where the memory of heads is charged.
pub trait HeadRoom: Send {
    /// Takes room for a head that needs so many bytes of memory, instead of the room it had; tells
    /// whether there was any.
    fn grow(&mut self, bytes: usize) -> bool;
}

/// Room without end.
impl HeadRoom for () {
    fn grow(&mut self, _bytes: usize) -> bool {
        true
    }
}

/// What became of a head.
pub(super) enum HeadRead {
    Request(Box<http::request::Parts>),
    Refused(Refusal),
    Gone { detail: String, transport_end: TransportEnd },
}

/// How long a request is waited for.
pub(super) struct Patience<F> {
    /// When it is overdue.
    pub(super) until: Instant,
    /// Asked then whether to go on.
    pub(super) overdue: F,
    pub(super) deadline: Instant,
}

/// Reads one request, of which `before` was read already; returns the socket, what came behind the head, and all that came.
pub(super) async fn read_head<T: Transport>(
    mut socket: T,
    before: Bytes,
    limits: &HandshakeLimits,
    patience: Patience<impl FnOnce() -> Result<(), Refusal>>,
    room: &mut impl HeadRoom,
) -> (T, Bytes, Vec<u8>, HeadRead) {
    let Patience { until, overdue, deadline } = patience;
    let mut overdue = Some(overdue).filter(|_| until < deadline);
    let most = limits.max_header_bytes.max(HYPER_MIN_BUFFER);
    let mut come = before.to_vec();
    drop(before);
    if !room.grow(come.capacity()) {
        return (socket, Bytes::new(), come, HeadRead::Refused(no_room()));
    }
    // What was read before is looked at first.
    let mut looked_at = 0;
    loop {
        let end = if looked_at == come.len() {
            let read = poll_fn(|cx| poll_read(cx, &mut socket, &mut come, room));
            let until = if overdue.is_some() { until } else { deadline };
            let read = match (timeout_at(until, read).await, &mut overdue) {
                (Ok(Ok(end)), _) => Ok(end),
                (Ok(Err(NoRoom)), _) => Err(no_room()),
                (Err(_), overdue) => match overdue.take() {
                    Some(overdue) => match overdue() {
                        Ok(()) => continue,
                        Err(refusal) => Err(refusal),
                    },
                    None => Err(too_slow(limits, come.len())),
                },
            };
            match read {
                Ok(end) => end,
                Err(refusal) => return (socket, Bytes::new(), come, HeadRead::Refused(refusal)),
            }
        } else {
            None
        };
        let fresh = std::mem::replace(&mut looked_at, come.len());
        let is_over = end.is_some() || come.len() >= most;
        if fresh > 0 && !is_over && !may_end(&come, fresh) {
            continue;
        }
        let (replay, read_ahead, head) = parse(Replay { bytes: come, at: 0, end }, limits).await;
        come = replay.bytes;
        match head {
            Some(head) => return (socket, read_ahead, come, head),
            None if is_over => {
                let refusal = headers_too_large(limits);
                return (socket, Bytes::new(), come, HeadRead::Refused(refusal));
            }
            None => {}
        }
    }
}

/// There was no room for what came.
struct NoRoom;

/// Reads once, and appends what came to `come`; returns how reading ended, if it did.
fn poll_read<T: Transport>(
    cx: &mut Context<'_>,
    socket: &mut T,
    come: &mut Vec<u8>,
    room: &mut impl HeadRoom,
) -> Poll<Result<Option<End>, NoRoom>> {
    SCRATCH.with(|scratch| {
        // One socket is polled within, which does not come back here. Should it ever, its own
        // buffer is as good.
        let mut own = Vec::new();
        let mut lent = scratch.try_borrow_mut();
        let buffer = match &mut lent {
            Ok(lent) => &mut lent[..],
            Err(_) => {
                own.resize(READ, 0);
                &mut own[..]
            }
        };
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
        let needed = come.len() + read.len();
        if needed > come.capacity() {
            // What comes in one piece needs no more than its size; what drips, doubles.
            let capacity = needed.max((2 * come.capacity()).min(READ));
            if !room.grow(capacity) {
                return Poll::Ready(Err(NoRoom));
            }
            come.reserve_exact(capacity - come.len());
        }
        come.extend_from_slice(read);
        Poll::Ready(Ok(None))
    })
}

/// Tells whether a head may end in what came from `before` on: behind an empty line.
fn may_end(come: &[u8], before: usize) -> bool {
    let fresh = &come[before.saturating_sub(3)..];
    fresh.windows(2).any(|two| two == b"\n\n") || fresh.windows(3).any(|three| three == b"\n\r\n")
}

/// How reading ended.
enum End {
    Fin,
    /// Taken by the first who reads it.
    Error(Option<io::Error>),
}

/// A stream of what has come.
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
            // It is polled again only from the beginning.
            None => Poll::Pending,
            Some(End::Error(error)) => Poll::Ready(error.take().map_or(Ok(()), Err)),
            Some(End::Fin) => Poll::Ready(Ok(())),
        }
    }
}

/// Lets hyper read a request out of what has come; nothing if it needs more.
async fn parse(replay: Replay, limits: &HandshakeLimits) -> (Replay, Bytes, Option<HeadRead>) {
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
            .serve_connection(TokioIo::new(Muted::new(replay)), service),
    );
    // All it reads is there, so it waits only for what has not come; but it may give others a turn.
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
    let heard = parts.io.into_inner().into_heard();
    let head = match (Arc::into_inner(slot).and_then(OnceLock::into_inner), ran) {
        (Some(request), _) => Some(HeadRead::Request(Box::new(request))),
        (None, Some(ran)) => Some(judge_failure(&heard, &parts.read_buf, ran.err(), limits)),
        (None, None) => None,
    };
    // A copy: even an empty slice would hold the whole of hyper's buffer for as long as the
    // connection lives.
    let replay = heard.socket;
    let read_ahead = [&parts.read_buf[..], &replay.bytes[replay.at..]].concat();
    (replay, read_ahead.into(), head)
}

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
