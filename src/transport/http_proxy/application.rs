//! Connections to applications, and those that are kept for the next request.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep};

use super::BUFFER;
use super::exchange::Upload;
use crate::transport::opening_handshake::MAX_LINES;
use crate::transport::socket::Transport;

/// How long a connection is kept for the next request: shorter than application servers keep theirs
/// (gunicorn 2 s, Node.js and uvicorn 5 s), so that none is closed while a request is on its way.
const KEPT: Duration = Duration::from_secs(1);

/// How many are kept for one application.
const MOST: usize = 128;

/// A connection to an application that speaks HTTP/1.1.
pub struct AppConnection {
    sender: http1::SendRequest<Upload>,
    driver: Driver,
    has_ended: bool,
    rewake: Arc<Rewake>,
    /// It has carried a request before.
    is_kept: bool,
}

type Driver = Pin<Box<http1::Connection<TokioIo<Box<dyn Transport>>, Upload>>>;

impl AppConnection {
    /// Makes one of a stream.
    ///
    /// # Errors
    /// hyper's; none is known.
    pub async fn new(stream: Box<dyn Transport>) -> Result<Self, hyper::Error> {
        let (sender, driver) = http1::Builder::new()
            .preserve_header_case(true)
            .title_case_headers(true)
            .max_buf_size(BUFFER)
            .max_headers(MAX_LINES)
            .handshake(TokioIo::new(stream))
            .await?;
        let rewake = Arc::default();
        Ok(Self { sender, driver: Box::pin(driver), has_ended: false, rewake, is_kept: false })
    }

    /// Tells whether it has carried a request before.
    pub(super) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Sends a request, which [`AppConnection::poll_with`] has to carry.
    pub(super) fn send(
        &mut self,
        request: Request<Upload>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Upload>>>> + use<>
    {
        self.sender.try_send_request(request)
    }

    /// Polls the driver and what the driver feeds (the response, or its body) until neither has news
    /// for the other.
    ///
    /// Both live in one task and talk through channels of hyper, which wake the task from within its
    /// own poll: the runtime would poll it again, and wake another worker for that.
    pub(super) fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut fed: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.rewake.begin(cx.waker());
        let waker = Waker::from(Arc::clone(&self.rewake));
        let mut inner = Context::from_waker(&waker);
        loop {
            self.rewake.forget();
            self.poll_driver(&mut inner);
            let polled = fed(&mut inner);
            if polled.is_ready() {
                // It is polled again for what follows, or the connection is looked at when it is
                // kept.
                self.rewake.end();
                return polled;
            }
            if !self.rewake.is_due() {
                self.rewake.end();
                // It came between the last look and the line above.
                if self.rewake.is_due() {
                    self.rewake.task.wake();
                }
                return polled;
            }
        }
    }

    /// Tells whether it has ended. Its error, if there is one, is the response's.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    fn poll_driver(&mut self, cx: &mut Context<'_>) {
        self.has_ended = self.has_ended || self.driver.as_mut().poll(cx).is_ready();
    }

    /// Tells whether it can carry a request now.
    fn is_free(&mut self) -> bool {
        // Whoever takes it polls it with a waker of its own.
        self.poll_driver(&mut Context::from_waker(Waker::noop()));
        !self.has_ended && self.sender.is_ready()
    }
}

impl fmt::Debug for AppConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppConnection").field("is_kept", &self.is_kept).finish_non_exhaustive()
    }
}

/// Wakes the task of a connection, unless that is polling the connection just now and will look
/// again by itself.
#[derive(Default)]
struct Rewake {
    task: AtomicWaker,
    is_polling: AtomicBool,
    is_due: AtomicBool,
}

impl Rewake {
    fn begin(&self, task: &Waker) {
        self.task.register(task);
        self.is_polling.store(true, Ordering::SeqCst);
    }

    fn forget(&self) {
        self.is_due.store(false, Ordering::SeqCst);
    }

    fn is_due(&self) -> bool {
        self.is_due.load(Ordering::SeqCst)
    }

    fn end(&self) {
        self.is_polling.store(false, Ordering::SeqCst);
    }
}

impl Wake for Rewake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_due.store(true, Ordering::SeqCst);
        if !self.is_polling.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

/// The connections to one application that are kept for the next request.
#[derive(Debug, Default)]
pub struct ConnectionPool {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The one that came last is taken first.
    connections: Vec<(Instant, AppConnection)>,
    /// Somebody lets go of those that are kept for too long.
    is_swept: bool,
}

impl ConnectionPool {
    /// Takes one that can carry a request.
    pub fn take(&self) -> Option<AppConnection> {
        loop {
            let (since, mut connection) = self.lock().connections.pop()?;
            if since.elapsed() < KEPT && connection.is_free() {
                return Some(connection);
            }
        }
    }

    /// Keeps one whose answer has passed, if it can carry another request.
    pub(super) fn keep(self: &Arc<Self>, mut connection: AppConnection) {
        if !connection.is_free() {
            return;
        }
        connection.is_kept = true;
        let mut kept = self.lock();
        if kept.connections.len() >= MOST {
            return;
        }
        kept.connections.push((Instant::now(), connection));
        if !kept.is_swept {
            kept.is_swept = true;
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets go of connections that are kept for too long, until none is left.
async fn sweep(pool: Weak<ConnectionPool>) {
    loop {
        sleep(KEPT / 2).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut kept = pool.lock();
        // The oldest are at the front.
        let old = kept.connections.partition_point(|(since, _)| since.elapsed() >= KEPT);
        let old: Vec<_> = kept.connections.drain(..old).collect();
        if kept.connections.is_empty() {
            kept.is_swept = false;
            return;
        }
        drop(kept);
        drop(old);
    }
}
