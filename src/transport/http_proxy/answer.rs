//! What a client is answered: what an application says, or why it is not asked.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::application::{AppConnection, ConnectionPool};
use super::turn::Turn;

/// Why a request is not passed on: what its sender is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotPassed {
    /// The HTTP status.
    pub status: StatusCode,
    /// One line.
    pub text: Cow<'static, str>,
    /// How long it is asked to wait, in whole seconds.
    pub retry_after: Option<Duration>,
}

impl NotPassed {
    /// Makes one that does not ask to wait.
    pub fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, text: text.into(), retry_after: None }
    }

    /// Asks to come back later.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    pub(super) fn into_response<L>(self, turn: Arc<Turn>) -> Response<Answer<L>> {
        let own = Full::from(format!("{}\n", self.text));
        let mut response = Response::new(Answer { of: Of::Own(own), turn });
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, plain);
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
        }
        response
    }
}

/// An answer's body.
pub(super) struct Answer<L> {
    of: Of<L>,
    turn: Arc<Turn>,
}

enum Of<L> {
    /// An application's.
    Application(Box<Passing<L>>),
    /// Ours.
    Own(Full<Bytes>),
}

/// An application's answer, and the connection that it comes from: that runs while somebody reads.
pub(super) struct Passing<L> {
    /// Gone once it has ended.
    pub(super) connection: Option<AppConnection>,
    pub(super) pool: Arc<ConnectionPool>,
    pub(super) body: Incoming,
    /// All of it has passed.
    pub(super) is_over: bool,
    pub(super) _lease: L,
}

impl<L> Answer<L> {
    pub(super) fn passing(passing: Passing<L>, turn: Arc<Turn>) -> Self {
        Self { of: Of::Application(Box::new(passing)), turn }
    }
}

impl<L: Unpin> Body for Answer<L> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        match &mut this.of {
            Of::Application(passing) => passing.poll_frame(cx),
            Of::Own(own) => Pin::new(own).poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.of {
            Of::Application(passing) => passing.body.is_end_stream(),
            Of::Own(own) => own.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.of {
            Of::Application(passing) => passing.body.size_hint(),
            Of::Own(own) => own.size_hint(),
        }
    }
}

impl<L> Passing<L> {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { connection, body, .. } = self;
        let frame = match connection {
            Some(connection) => connection.poll_with(cx, |cx| Pin::new(&mut *body).poll_frame(cx)),
            None => Pin::new(body).poll_frame(cx),
        };
        if connection.as_ref().is_some_and(AppConnection::has_ended) {
            *connection = None;
        }
        // Nothing follows trailers, and hyper does not ask.
        self.is_over |= match &frame {
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers(),
            Poll::Ready(None) => true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        frame
    }
}

/// hyper drops a body once it has all of it, or when the client is gone.
impl<L> Drop for Answer<L> {
    fn drop(&mut self) {
        self.turn.answered();
        if let Of::Application(passing) = &mut self.of
            && (passing.is_over || passing.body.is_end_stream())
            && let Some(connection) = passing.connection.take()
        {
            passing.pool.keep(connection);
        }
    }
}
