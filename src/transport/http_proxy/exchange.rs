//! One request, and its answer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version, header};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::sleep;

use super::answer::{Answer, Passing};
use super::turn::Turn;
use super::{Forwarding, NotPassed, Reached};

/// How long a client that asks whether to send its body (`Expect: 100-continue`) waits for the
/// application's word: some know no such question, and wait for the body.
const WORD: Duration = Duration::from_secs(1);

/// Passes a request on, and returns its answer: the application's, or why there is none.
pub(super) async fn exchange<F: Forwarding>(
    request: Request<Incoming>,
    way: Option<F::Way>,
    turn: &Arc<Turn>,
    forwarding: &F,
) -> Response<Answer<F::Lease>> {
    let passed = match way {
        Some(way) => pass(request, way, turn, forwarding).await,
        // The stream hands over no other.
        None => Err(NotPassed::new(StatusCode::NOT_FOUND, "this is not passed on")),
    };
    passed.unwrap_or_else(|not_passed| {
        turn.answer_begins(false);
        not_passed.into_response(Arc::clone(turn))
    })
}

async fn pass<F: Forwarding>(
    request: Request<Incoming>,
    way: F::Way,
    turn: &Arc<Turn>,
    forwarding: &F,
) -> Result<Response<Answer<F::Lease>>, NotPassed> {
    let (mut parts, body) = request.into_parts();
    let is_http_11 = parts.version == Version::HTTP_11;
    let asks = is_http_11
        && !body.is_end_stream()
        && parts
            .headers
            .get(header::EXPECT)
            .is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if !asks {
        turn.want_body();
    }
    let is_repeatable = body.is_end_stream() && parts.method.is_idempotent();
    forwarding.admit(&way, &mut parts)?;
    let body = (!body.is_end_stream()).then_some(body);
    let mut request = Request::from_parts(parts, Upload { body, turn: Arc::clone(turn) });
    let told = Arc::clone(turn);
    hyper::ext::on_informational(&mut request, move |interim| match interim.status() {
        StatusCode::CONTINUE => told.want_body(),
        status if is_http_11 => told.tell(status, interim.headers()),
        _ => {}
    });
    let mut kept = true;
    loop {
        let reached = forwarding.connect(&way, kept, request.headers_mut()).await?;
        let spare = (is_repeatable && reached.connection.is_kept()).then(|| copy(&request));
        match ask(reached, request, spare, asks, turn, forwarding).await {
            Ok(answer) => return Ok(answer),
            Err(Unanswered::Never(not_passed)) => return Err(not_passed),
            // It was closed while it was kept: another is asked, once, and that is a new one.
            Err(Unanswered::Stale(again)) => (kept, request) = (false, *again),
        }
    }
}

/// Why an application gave no answer.
enum Unanswered {
    /// The client is told.
    Never(NotPassed),
    /// The connection was kept, and was gone before it carried this.
    Stale(Box<Request<Upload>>),
}

async fn ask<F: Forwarding>(
    reached: Reached<F::Lease>,
    request: Request<Upload>,
    spare: Option<Request<Upload>>,
    asks: bool,
    turn: &Arc<Turn>,
    forwarding: &F,
) -> Result<Response<Answer<F::Lease>>, Unanswered> {
    let Reached { mut connection, pool, lease } = reached;
    let mut response = pin!(connection.send(request));
    let mut word = pin!(asks.then(|| sleep(WORD)));
    let answer = poll_fn(|cx| {
        if turn.is_expired() {
            return Poll::Ready(None);
        }
        if let Some(word) = word.as_mut().as_pin_mut()
            && !turn.wants_body()
            && word.poll(cx).is_ready()
        {
            turn.want_body();
        }
        connection.poll_with(cx, |cx| response.as_mut().poll(cx).map(Some))
    })
    .await;
    let answer = match answer {
        Some(Ok(answer)) => answer,
        Some(Err(mut failed)) => {
            if turn.is_malformed() {
                let text = "the body is not in chunks as RFC 9112 section 7.1 has them";
                return Err(Unanswered::Never(NotPassed::new(StatusCode::BAD_REQUEST, text)));
            }
            // Not a byte of the one was sent, the other does no more if it is sent twice.
            let again = failed.take_message().or(spare).filter(|_| connection.is_kept());
            if let Some(again) = again {
                return Err(Unanswered::Stale(Box::new(again)));
            }
            forwarding.failed(&lease, &failed.error().to_string());
            return Err(Unanswered::Never(no_answer()));
        }
        None if turn.is_ending() => {
            let text = "this server is about to stop: try again";
            let not_passed = NotPassed::new(StatusCode::SERVICE_UNAVAILABLE, text);
            return Err(Unanswered::Never(not_passed.retry_after(WORD)));
        }
        None => {
            forwarding.failed(&lease, "it did not answer within http_timeout");
            let text = "the application did not answer in time";
            return Err(Unanswered::Never(NotPassed::new(StatusCode::GATEWAY_TIMEOUT, text)));
        }
    };
    let (mut parts, body) = answer.into_parts();
    // Nobody asked it to switch.
    if parts.status.is_informational() {
        forwarding.failed(&lease, "it switched protocols unasked");
        return Err(Unanswered::Never(no_answer()));
    }
    // What the client speaks is hyper's to know.
    parts.version = Version::HTTP_11;
    forwarding.answer(&lease, &mut parts);
    turn.answer_begins(is_event_stream(&parts.headers));
    let connection = Some(connection);
    let passing = Passing { connection, pool, body, is_over: false, _lease: lease };
    Ok(Response::from_parts(parts, Answer::passing(passing, Arc::clone(turn))))
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes());
    media_type.is_some_and(|kind| {
        kind.get(..17).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
    })
}

fn no_answer() -> NotPassed {
    NotPassed::new(StatusCode::BAD_GATEWAY, "the application did not answer")
}

/// Copies a request that has no body.
fn copy(request: &Request<Upload>) -> Request<Upload> {
    let body = Upload { body: None, turn: Arc::clone(&request.body().turn) };
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    copy
}

/// A request's body on its way, if there is one.
pub(super) struct Upload {
    body: Option<Incoming>,
    turn: Arc<Turn>,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        // To ask for it is to tell the client to send it. Whoever waits for the answer polls again.
        if !self.turn.wants_body() {
            return Poll::Pending;
        }
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
