//! A reverse proxy for plain HTTP beside WebSockets: requests of a client are forwarded one after the
//! other, and answers are streamed back, over persistent connections on both sides.
//!
//! hyper is the server and the client. A `ClientStream` between the client's socket and hyper passes
//! hyper one request at a time, so that an upgrade on the same connection, or any other request that
//! is not to be forwarded, is handed back to the caller with every byte of it.

mod answer;
mod application;
mod client;
mod exchange;
mod forwarding;
mod session;
mod upload;

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep_until};

use super::socket::Transport;
use crate::protocol::request_framing::Head;
pub use answer::Rejection;
use application::BUFFER;
pub use application::{AppConnection, ConnectionPool};
use client::ClientStream;
pub use forwarding::{Forwarding, UpstreamConnection};
pub use session::ClientSession;

/// How serving a client ended.
pub enum Served<T> {
    /// The connection is closed.
    Closed,
    /// The next request is not forwarded: the socket, and the bytes of the request that were read.
    HandedBack(T, Bytes),
}

/// Forwards requests, beginning with the bytes in `read`, until either side closes, the session is idle
/// for too long, or the client sends a request that is not forwarded.
///
/// # Cancel safety
/// Dropping the future drops all connections.
pub async fn serve<T: Transport, F: Forwarding>(
    client: T,
    read: Bytes,
    session: Arc<ClientSession>,
    forwarding: &F,
) -> Served<T> {
    let route = Mutex::new(None);
    let accepts = |head: &Head<'_>| {
        let found = forwarding.route(head);
        let is_accepted = found.is_some();
        *route.lock() = found;
        is_accepted
    };
    let stream = ClientStream::new(client, read, Arc::clone(&session), accepts);
    let service = service_fn(|request| {
        // The stream has set the route before hyper saw the request.
        let route = route.lock().take();
        let exchange = exchange::exchange(request, route, &session, forwarding);
        async { Ok::<_, Infallible>(exchange.await) }
    });
    // Boxed, because hyper's state is large.
    let mut http = Box::new(
        http1::Builder::new()
            // The stream decides when the client is gone.
            .half_close(false)
            .header_read_timeout(None)
            .max_buf_size(BUFFER)
            .preserve_header_case(true)
            .title_case_headers(true)
            .serve_connection(TokioIo::new(stream), service),
    );
    let ended = drive(&mut *http, &session).await;
    let stream = http.into_parts().io.into_inner();
    session.detach();
    match ended {
        Ended::Finished => {}
        Ended::TimedOut | Ended::Failed => return Served::Closed,
    }
    match stream.into_rest() {
        client::Rest::HandedBack(socket, read) => Served::HandedBack(socket, read),
        client::Rest::ClientEnded(socket) => {
            drop(socket);
            Served::Closed
        }
        client::Rest::Open(socket) => {
            super::opening_handshake::lingering_close(socket).await;
            Served::Closed
        }
    }
}

/// How a connection of hyper's ended.
enum Ended {
    /// In order.
    Finished,
    /// It was idle for too long, or was cut off.
    TimedOut,
    /// The socket failed, or an answer broke off.
    Failed,
}

/// Drives hyper's connection, and enforces the idle timeout.
async fn drive<T, F, S, B>(
    http: &mut http1::Connection<TokioIo<ClientStream<T, F>>, S>,
    session: &ClientSession,
) -> Ended
where
    T: Transport,
    F: Fn(&Head<'_>) -> bool + Unpin,
    S: HttpService<hyper::body::Incoming, ResBody = B, Error = Infallible> + Unpin,
    B: hyper::body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut timer = pin!(IdleTimer::new(session));
    let mut is_ending = false;
    poll_fn(|cx| {
        session.register(cx.waker());
        loop {
            if let Poll::Ready(ended) = Pin::new(&mut *http).poll(cx) {
                let ended = ended.map_or(Ended::Failed, |()| Ended::Finished);
                return Poll::Ready(ended);
            }
            if session.is_cut() {
                // A client that waits for an answer gets 503 first.
                if session.expire() {
                    continue;
                }
                return Poll::Ready(Ended::TimedOut);
            }
            if session.is_ending() && !is_ending {
                is_ending = true;
                Pin::new(&mut *http).graceful_shutdown();
                continue;
            }
            ready!(timer.as_mut().poll_idle(cx));
            // A client that waits for an answer gets 504; otherwise the connection ends.
            if !session.expire() {
                return Poll::Ready(Ended::TimedOut);
            }
        }
    })
    .await
}

/// The timer of the idle timeout.
struct IdleTimer<'a> {
    session: &'a ClientSession,
    /// The timeout for which it was set.
    timeout: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl<'a> IdleTimer<'a> {
    fn new(session: &'a ClientSession) -> Self {
        let timeout = session.idle_timeout();
        let sleep = Box::pin(sleep_until(session.last_activity() + timeout));
        Self { session, timeout, sleep }
    }

    /// Is ready each time the session has been idle for `ClientSession::idle_timeout`.
    fn poll_idle(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let timeout = self.session.idle_timeout();
        if timeout != self.timeout {
            self.timeout = timeout;
            let until = self.session.last_activity() + timeout;
            self.sleep.as_mut().reset(until);
        }
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let until = self.session.last_activity() + timeout;
            if until <= Instant::now() {
                // The answer that is sent now gets the whole time again.
                self.sleep.as_mut().reset(Instant::now() + timeout);
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(until);
        }
    }
}
