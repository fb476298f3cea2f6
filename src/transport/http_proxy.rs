//! Plain HTTP beside WebSockets: the requests of a client pass to applications one after the other,
//! and their answers back, both streaming, over connections that are kept on either side.
//!
//! hyper speaks to both. Between the client's socket and hyper is a `ClientStream`, which
//! hands hyper one request at a time: so an upgrade that follows on the same connection, or anything
//! that is not to be passed on, goes back to the owner of the socket as it came, not one byte of it
//! read by anybody else.

mod answer;
mod application;
mod client;
mod exchange;
mod turn;

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, request, response};
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep, sleep_until};

use super::socket::Transport;
use crate::protocol::request_framing::Head;
pub use answer::NotPassed;
pub use application::{AppConnection, ConnectionPool};
use client::ClientStream;
pub use turn::Turn;

/// How long nothing may move once the node drains, or the client has ended its side: what goes on
/// is finished, what only waits (a long poll, a stream of events) is given up.
const SILENCE: Duration = Duration::from_secs(5);

/// How much hyper reads at once, and holds of what was not taken.
const BUFFER: usize = 64 * 1024;

/// What decides where requests go, and what is changed on the way.
pub trait Forwarding {
    /// Where a request goes.
    type Way: Send;
    /// What is held until an answer has passed.
    type Lease: Send + Unpin + 'static;

    /// Returns where a request goes; `None` for one that is not passed on.
    fn way(&self, head: &Head<'_>) -> Option<Self::Way>;

    /// Lets a request in, and changes it for the application.
    ///
    /// # Errors
    /// What the client is answered instead.
    fn admit(&self, way: &Self::Way, request: &mut request::Parts) -> Result<(), NotPassed>;

    /// Finds a connection to an application, one that is kept if `kept`, and names the host.
    ///
    /// # Errors
    /// What the client is answered instead.
    fn connect(
        &self,
        way: &Self::Way,
        kept: bool,
        headers: &mut HeaderMap,
    ) -> impl Future<Output = Result<Reached<Self::Lease>, NotPassed>> + Send;

    /// Changes the answer for the client.
    fn answer(&self, lease: &Self::Lease, answer: &mut response::Parts);

    /// Takes note of an application that was reached and gave no answer.
    fn failed(&self, lease: &Self::Lease, why: &str);
}

/// An application that was connected to.
pub struct Reached<L> {
    /// The connection.
    pub connection: AppConnection,
    /// Where it is kept once its answer has passed.
    pub pool: Arc<ConnectionPool>,
    /// What is held meanwhile.
    pub lease: L,
}

/// How serving a client ended.
pub enum Served<T> {
    /// It is over.
    Over,
    /// What the client sent last is not passed on: its socket, and what was read of that.
    NotOurs(T, Bytes),
}

/// Passes requests on, the first of which `read` begins with, until either side ends, nothing has
/// moved for too long, or the client sends what is not to be passed on.
///
/// # Cancel safety
/// Dropping the future drops all connections.
pub async fn serve<T: Transport, F: Forwarding>(
    client: T,
    read: Bytes,
    turn: Arc<Turn>,
    forwarding: &F,
) -> Served<T> {
    let way = Mutex::new(None);
    let takes = |head: &Head<'_>| {
        let found = forwarding.way(head);
        let is_ours = found.is_some();
        *way.lock().unwrap_or_else(PoisonError::into_inner) = found;
        is_ours
    };
    let stream = ClientStream::new(client, read, Arc::clone(&turn), takes);
    let service = service_fn(|request| {
        // Taken by the stream before hyper saw the request.
        let way = way.lock().unwrap_or_else(PoisonError::into_inner).take();
        let exchange = exchange::exchange(request, way, &turn, forwarding);
        async { Ok::<_, Infallible>(exchange.await) }
    });
    // Boxed: hyper's state is large.
    let mut http = Box::new(
        http1::Builder::new()
            // The stream knows better when the client is gone.
            .half_close(false)
            .header_read_timeout(None)
            .max_buf_size(BUFFER)
            .preserve_header_case(true)
            .title_case_headers(true)
            .serve_connection(TokioIo::new(stream), service),
    );
    let ended = drive(&mut *http, &turn).await;
    let stream = http.into_parts().io.into_inner();
    turn.leave();
    match ended {
        Ended::ByItself => {}
        Ended::Silent | Ended::Failed => return Served::Over,
    }
    match stream.into_rest() {
        client::Rest::NotOurs(socket, read) => Served::NotOurs(socket, read),
        client::Rest::Gone(socket) => {
            drop(socket);
            Served::Over
        }
        client::Rest::Here(socket) => {
            super::opening_handshake::lingering_close(socket).await;
            Served::Over
        }
    }
}

/// How a connection of hyper's ended.
enum Ended {
    /// In order.
    ByItself,
    /// Nothing moved for too long, or it was cut off.
    Silent,
    /// The socket failed, or an answer broke off.
    Failed,
}

/// Drives hyper's connection, and bounds it.
async fn drive<T, F, S, B>(
    http: &mut http1::Connection<TokioIo<ClientStream<T, F>>, S>,
    turn: &Turn,
) -> Ended
where
    T: Transport,
    F: Fn(&Head<'_>) -> bool + Unpin,
    S: HttpService<hyper::body::Incoming, ResBody = B, Error = Infallible> + Unpin,
    B: hyper::body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut bound = pin!(Bound::new(turn));
    let mut is_ending = false;
    poll_fn(|cx| {
        turn.register(cx.waker());
        loop {
            if let Poll::Ready(ended) = Pin::new(&mut *http).poll(cx) {
                let ended = ended.map_or(Ended::Failed, |()| Ended::ByItself);
                return Poll::Ready(ended);
            }
            if turn.is_cut() {
                return Poll::Ready(Ended::Silent);
            }
            if turn.is_ending() && !is_ending {
                is_ending = true;
                Pin::new(&mut *http).graceful_shutdown();
                continue;
            }
            ready!(bound.as_mut().poll_silence(cx));
            // Who waits for an answer is told so; if that cannot be, it is over.
            if !turn.expire() {
                return Poll::Ready(Ended::Silent);
            }
        }
    })
    .await
}

/// The timer that finds out that nothing has moved for too long.
struct Bound<'a> {
    turn: &'a Turn,
    /// What it was set by.
    patience: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl<'a> Bound<'a> {
    fn new(turn: &'a Turn) -> Self {
        let patience = turn.patience();
        let sleep = Box::pin(sleep_until(turn.last_moved() + patience));
        Self { turn, patience, sleep }
    }

    /// Is ready each time that nothing has moved for as long as `Turn::patience` says.
    fn poll_silence(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let patience = self.turn.patience();
        if patience != self.patience {
            self.patience = patience;
            let until = self.turn.last_moved() + patience;
            self.sleep.as_mut().reset(until);
        }
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let until = self.turn.last_moved() + patience;
            if until <= Instant::now() {
                // For what is said now there is as much time again.
                self.sleep.as_mut().reset(Instant::now() + patience);
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(until);
        }
    }
}
