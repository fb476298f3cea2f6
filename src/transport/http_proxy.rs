//! Plain HTTP beside a WebSocket: one request passes to an application and its answer back, both
//! streaming, then the connection ends.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{HeaderValue, Response, StatusCode, header, request, response};
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1 as client_http1;
use hyper::server::conn::http1 as server_http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout_at};

use super::socket::Transport;

/// Why a request is not passed on: what its sender is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotPassed {
    /// The HTTP status.
    pub status: StatusCode,
    /// One line.
    pub text: &'static str,
}

/// What decides where a request goes, and what is changed on the way.
pub trait Forwarding {
    /// Changes the request for the application, and connects to that.
    ///
    /// # Errors
    /// What the client is answered instead.
    fn connect(
        &self,
        request: &mut request::Parts,
    ) -> impl Future<Output = Result<Box<dyn Transport>, NotPassed>>;

    /// Changes the answer for the client.
    fn answer(&self, answer: &mut response::Parts);
}

/// Passes one request on, which `read_ahead` begins with, and its answer back.
///
/// It ends when the answer has left, when either side is gone, or when nothing has moved either way
/// for `idle`. Nothing is held but the buffers of the two connections.
///
/// # Cancel safety
/// Dropping the future drops both connections.
pub async fn pass<T: Transport>(
    client: T,
    read_ahead: Bytes,
    idle: Duration,
    forwarding: &impl Forwarding,
) {
    let activity = Activity::new(idle);
    let client = Watched { stream: client, before: read_ahead, activity: activity.clone() };
    let activity = &activity;
    let service = service_fn(|request| async move {
        let (parts, body) = request.into_parts();
        let answer = match forward(parts, body, forwarding, activity).await {
            Ok(answer) => answer.map(Either::Left),
            Err(not_passed) => not_passed.to_response().map(Either::Right),
        };
        Ok::<_, std::convert::Infallible>(answer)
    });
    let http = server_http1::Builder::new()
        .keep_alive(false)
        // Whoever leaves amid a poll is gone, and its application is to know: no half is kept.
        .half_close(false)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(client), service);
    // How it went is between the two: neither is a connection of ours.
    let _ = activity.bound(pin!(http)).await;
}

async fn forward(
    mut parts: request::Parts,
    body: Incoming,
    forwarding: &impl Forwarding,
    activity: &Activity,
) -> Result<Response<Driven>, NotPassed> {
    let socket = forwarding.connect(&mut parts).await?;
    let stream = Watched { stream: socket, before: Bytes::new(), activity: activity.clone() };
    let (mut sender, driver) = client_http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|_| NotPassed::bad_gateway())?;
    let mut driver = Box::pin(driver);
    let mut done = false;
    let mut response = pin!(sender.send_request(http::Request::from_parts(parts, body)));
    let answer = poll_fn(|cx| {
        // An error, if there is one, is the response's.
        done = done || driver.as_mut().poll(cx).is_ready();
        response.as_mut().poll(cx)
    });
    let Some(answer) = activity.bound(pin!(answer)).await else {
        let text = "the application did not answer in time";
        return Err(NotPassed { status: StatusCode::GATEWAY_TIMEOUT, text });
    };
    let (mut parts, body) = answer.map_err(|_| NotPassed::bad_gateway())?.into_parts();
    // Nobody asked it to switch.
    if parts.status.is_informational() {
        return Err(NotPassed::bad_gateway());
    }
    forwarding.answer(&mut parts);
    let driver = (!done).then_some(driver);
    Ok(Response::from_parts(parts, Driven { driver, body }))
}

impl NotPassed {
    fn bad_gateway() -> Self {
        Self { status: StatusCode::BAD_GATEWAY, text: "the application did not answer" }
    }

    fn to_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(format!("{}\n", self.text)));
        *response.status_mut() = self.status;
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, plain);
        response
    }
}

type Driver = Pin<Box<client_http1::Connection<TokioIo<Watched<Box<dyn Transport>>>, Incoming>>>;

/// An answer's body, and the connection that it comes from: that runs while somebody reads.
struct Driven {
    driver: Option<Driver>,
    body: Incoming,
}

impl Body for Driven {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let driver = &mut this.driver;
        if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(cx).is_ready()) {
            *driver = None;
        }
        Pin::new(&mut this.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// When bytes last moved, on either connection.
#[derive(Debug, Clone)]
struct Activity {
    began: Instant,
    idle: Duration,
    last: Arc<AtomicU64>,
}

impl Activity {
    fn new(idle: Duration) -> Self {
        Self { began: Instant::now(), idle, last: Arc::default() }
    }

    fn note(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }

    /// Waits for `work` as long as something moves; `None` if nothing did for too long.
    async fn bound<F: Future + Unpin>(&self, mut work: F) -> Option<F::Output> {
        loop {
            let last = self.last.load(Ordering::Relaxed);
            let until = self.began + Duration::from_millis(last) + self.idle;
            match timeout_at(until, &mut work).await {
                Ok(done) => return Some(done),
                Err(_) if self.last.load(Ordering::Relaxed) == last => return None,
                Err(_) => {}
            }
        }
    }
}

/// A stream that tells of what moves, with bytes in front that were read before.
struct Watched<S> {
    stream: S,
    before: Bytes,
    activity: Activity,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.before.is_empty() {
            let len = this.before.len().min(buf.remaining());
            buf.put_slice(&this.before[..len]);
            this.before.advance(len);
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        this.activity.note();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes))?;
        this.activity.note();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
