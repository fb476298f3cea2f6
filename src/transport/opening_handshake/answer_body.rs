//! The body of an answer other than 101: its beginning, and the rest as a stream.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, timeout_at};

/// The body of an answer, of which only the beginning is buffered.
#[derive(Debug)]
pub struct AnswerBody {
    /// What was read; the whole body if `rest` is `None`.
    pub(super) first: Bytes,
    /// Its length; `None` if it is not known in advance.
    pub(super) length: Option<u64>,
    pub(super) rest: Option<Rest>,
}

/// The part of a body that was not read yet.
pub(super) struct Rest {
    incoming: Incoming,
    driver: Option<Driver>,
    /// When it must have been read.
    pub(super) deadline: Instant,
}

/// hyper's connection, which must be polled to read the body.
pub(super) type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

impl AnswerBody {
    /// Reads a body, or just over `max` bytes of it; `None` if that takes until the deadline.
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
                // A body that ends early is passed on as far as it was read.
                Ok(None) => return Some(Self::whole(first.freeze())),
                Err(_) => return None,
            }
        }
        Some(Self { first: first.freeze(), length: announced, rest: Some(rest) })
    }

    /// Makes a complete body.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self { length: Some(bytes.len() as u64), first: bytes, rest: None }
    }
}

impl Rest {
    /// Returns the next data; `None` at the end, even a premature one.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            let frame = poll_fn(|cx| {
                let driver = &mut self.driver;
                if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(cx).is_ready()) {
                    *driver = None;
                }
                Pin::new(&mut self.incoming).poll_frame(cx)
            });
            // Trailers, which end the body, are dropped.
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
