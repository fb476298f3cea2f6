//! Answers to a client: those of applications, and our own rejections.

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
use super::session::ClientSession;
use crate::transport::opening_handshake::value_of_retry_after;

/// An answer to a request that is not forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The HTTP status.
    pub status: StatusCode,
    /// The reason, in one line.
    pub text: Cow<'static, str>,
    /// The `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The values of `WWW-Authenticate`.
    pub challenges: Vec<HeaderValue>,
}

impl Rejection {
    /// Makes a rejection without `Retry-After`.
    pub fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, text: text.into(), retry_after: None, challenges: Vec::new() }
    }

    /// Sets `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    pub(super) fn into_response<L>(self, session: Arc<ClientSession>) -> Response<Answer<L>> {
        let own = Full::from(format!("{}\n", self.text));
        let mut response = Response::new(Answer { source: Source::Own(own), session });
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        for challenge in self.challenges {
            headers.append(header::WWW_AUTHENTICATE, challenge);
        }
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, plain);
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, value_of_retry_after(wait));
        }
        response
    }
}

/// The body of an answer.
pub(super) struct Answer<L> {
    source: Source<L>,
    session: Arc<ClientSession>,
}

enum Source<L> {
    /// An application.
    Application(Box<ForwardedBody<L>>),
    /// This end.
    Own(Full<Bytes>),
}

/// The body of an application's answer, and the connection it comes from, which is polled with it.
pub(super) struct ForwardedBody<L> {
    /// `None` once the connection has ended.
    pub(super) connection: Option<AppConnection>,
    pub(super) pool: Arc<ConnectionPool>,
    pub(super) body: Incoming,
    /// The whole body was forwarded.
    pub(super) is_over: bool,
    pub(super) _lease: L,
}

impl<L> Answer<L> {
    pub(super) fn forwarded(body: ForwardedBody<L>, session: Arc<ClientSession>) -> Self {
        Self { source: Source::Application(Box::new(body)), session }
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
        match &mut this.source {
            Source::Application(forwarded) => forwarded.poll_frame(cx),
            Source::Own(own) => Pin::new(own).poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Application(forwarded) => forwarded.body.is_end_stream(),
            Source::Own(own) => own.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Application(forwarded) => forwarded.body.size_hint(),
            Source::Own(own) => own.size_hint(),
        }
    }
}

impl<L> ForwardedBody<L> {
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
        // Trailers are the last frame, after which hyper does not poll again.
        self.is_over |= match &frame {
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers(),
            Poll::Ready(None) => true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        frame
    }
}

/// hyper drops a body once it has read it whole, or when the client is gone.
impl<L> Drop for Answer<L> {
    fn drop(&mut self) {
        self.session.end_answer();
        if let Source::Application(forwarded) = &mut self.source
            && (forwarded.is_over || forwarded.body.is_end_stream())
            && let Some(connection) = forwarded.connection.take()
        {
            connection.keep_in(&forwarded.pool);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_rounded_up_to_seconds() {
        for (wait, due) in [(1, "1"), (1000, "1"), (1001, "2")] {
            let rejection = Rejection::new(StatusCode::SERVICE_UNAVAILABLE, "later");
            let rejection = rejection.retry_after(Duration::from_millis(wait));
            let session = Arc::new(ClientSession::new(Duration::from_secs(1)));
            let response: Response<Answer<()>> = rejection.into_response(session);
            assert_eq!(response.headers()[header::RETRY_AFTER], due, "{wait} ms");
        }
    }
}
