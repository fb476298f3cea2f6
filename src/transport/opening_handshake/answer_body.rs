//! The body of an answer other than 101: what came of it, and the rest as it comes.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, timeout_at};

/// The body of an answer, of which only the beginning is held.
#[derive(Debug)]
pub struct AnswerBody {
    /// What was read of it; all of it, if there is no rest.
    pub(super) first: Bytes,
    /// How long it is; `None` if only its end will tell.
    pub(super) length: Option<u64>,
    pub(super) rest: Option<Rest>,
}

/// What was not read yet.
pub(super) struct Rest {
    incoming: Incoming,
    driver: Option<Driver>,
    /// By when it must have come.
    pub(super) deadline: Instant,
}

/// hyper's connection, which brings the body.
pub(super) type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

impl AnswerBody {
    /// Reads a body, or so much of it that it has more than `max` bytes; `None` if not even that
    /// comes in time.
    pub(super) async fn read(
        incoming: Incoming,
        driver: Option<Driver>,
        max: usize,
        deadline: Instant,
    ) -> Option<Self> {
        let announced = incoming.size_hint().exact();
        let (mut first, mut rest) = (BytesMut::new(), Rest { incoming, driver, deadline });
        while first.len() <= max {
            match timeout_at(deadline, rest.next()).await {
                Ok(Some(data)) => first.extend_from_slice(&data),
                // A body that ends too early is passed on as far as it came.
                Ok(None) => return Some(Self::whole(first.freeze())),
                Err(_) => return None,
            }
        }
        Some(Self { first: first.freeze(), length: announced, rest: Some(rest) })
    }

    /// Makes a body of bytes.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self { length: Some(bytes.len() as u64), first: bytes, rest: None }
    }
}

impl Rest {
    /// Returns what comes next; `None` at the end, be it too early.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            let frame = poll_fn(|cx| {
                let driver = &mut self.driver;
                if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(cx).is_ready()) {
                    *driver = None;
                }
                Pin::new(&mut self.incoming).poll_frame(cx)
            });
            // Trailers end the body, and have nobody to read them.
            if let Ok(data) = frame.await?.ok()?.into_data() {
                return Some(data);
            }
        }
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}
