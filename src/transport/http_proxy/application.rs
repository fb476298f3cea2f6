//! Connections to applications.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;

use super::upload::Upload;
use crate::transport::idle_pool::{IdlePool, Reusable};
use crate::transport::opening_handshake::MAX_LINES;
use crate::transport::socket::Transport;

/// The size of hyper's buffers, in bytes.
pub(super) const BUFFER: usize = 64 * 1024;

/// How often a connection and what it feeds are polled in turns before other tasks have theirs.
const MAX_TURNS: usize = 8;

/// A connection to an application that speaks HTTP/1.1.
pub struct AppConnection {
    sender: http1::SendRequest<Upload>,
    driver: Driver,
    has_ended: bool,
    rewake: Arc<Rewake>,
    /// Whether it has carried a request before.
    is_kept: bool,
}

type Driver = Pin<Box<http1::Connection<TokioIo<Box<dyn Transport>>, Upload>>>;

impl AppConnection {
    /// Starts HTTP/1.1 on a stream.
    ///
    /// # Errors
    /// Those of hyper's handshake.
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

    /// Returns whether it has carried a request before.
    pub(super) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Gives it to a pool after it has carried a request.
    pub(super) fn keep_in(mut self, pool: &Arc<ConnectionPool>) {
        self.is_kept = true;
        pool.keep(self);
    }

    /// Sends a request, while [`AppConnection::poll_with`] must be called.
    pub(super) fn send(
        &mut self,
        request: Request<Upload>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Upload>>>> + use<>
    {
        self.sender.try_send_request(request)
    }

    /// Polls the driver and the future it feeds (the response or its body) until neither wakes the other.
    ///
    /// Both are in one task and communicate over hyper's channels, which wake the task during its own
    /// poll; the runtime would then poll it again, and wake another worker for that.
    pub(super) fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut fed: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.rewake.begin(cx.waker());
        let waker = Waker::from(Arc::clone(&self.rewake));
        let mut inner = Context::from_waker(&waker);
        for _ in 0..MAX_TURNS {
            self.rewake.forget();
            self.poll_driver(&mut inner);
            let polled = fed(&mut inner);
            if polled.is_ready() {
                // The body is polled next, or the pool polls the connection when it keeps it.
                self.rewake.end();
                return polled;
            }
            if !self.rewake.is_due() {
                break;
            }
        }
        self.rewake.end();
        // It was woken in its last turn, or between that and `end`.
        if self.rewake.is_due() {
            self.rewake.task.wake();
        }
        Poll::Pending
    }

    /// Returns whether the connection has ended. Errors are returned by the response future.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    fn poll_driver(&mut self, cx: &mut Context<'_>) {
        self.has_ended = self.has_ended || self.driver.as_mut().poll(cx).is_ready();
    }
}

impl Reusable for AppConnection {
    /// Shorter than application servers keep theirs (gunicorn 2 s, Node.js and uvicorn 5 s), so that they
    /// do not close one just as a request is sent.
    const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

    const MAX_IDLE: usize = 128;

    fn is_free(&mut self) -> bool {
        // The no-op waker is fine, because the next user polls it again.
        self.poll_driver(&mut Context::from_waker(Waker::noop()));
        !self.has_ended && self.sender.is_ready()
    }
}

impl fmt::Debug for AppConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppConnection").field("is_kept", &self.is_kept).finish_non_exhaustive()
    }
}

/// Wakes the task of a connection, unless that task is polling the connection and polls again anyway.
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

/// The idle connections to one application.
pub type ConnectionPool = IdlePool<AppConnection>;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::transport::socket::Adopted;

    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Wake for Counting {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn what_wakes_itself_is_polled_again_and_leaves_room_for_other_tasks() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let mut connection = AppConnection::new(Box::new(Adopted(ours))).await.unwrap();
        let wakes = Arc::new(Counting::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut cx = Context::from_waker(&waker);

        // Woken once in its own poll: polled again at once, and the task is not woken.
        let mut polls = 0;
        let polled = connection.poll_with(&mut cx, |cx| {
            polls += 1;
            if polls == 1 {
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        assert_eq!((polls, wakes.0.load(Ordering::SeqCst)), (2, 0));

        // Woken in every poll: the task is woken once, and polled later.
        let mut polls = 0;
        let polled = connection.poll_with(&mut cx, |cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        assert_eq!((polls, wakes.0.load(Ordering::SeqCst)), (MAX_TURNS, 1));
    }
}
