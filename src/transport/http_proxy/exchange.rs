//! The exchange of one request and its answer.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderMap, Request, Response, StatusCode, Version, header};
use hyper::body::{Body, Incoming};
use tokio::time::sleep;

use super::answer::{Answer, ForwardedBody, Rejection};
use super::forwarding::{Forwarding, UpstreamConnection};
use super::session::ClientSession;
use super::upload::Upload;
use crate::vocabulary::HttpOutcome;

/// How long the application may take to answer `Expect: 100-continue` before the body is requested all
/// the same, because some applications ignore the header and wait for the body.
const CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);

/// Forwards a request, and returns the answer of the application, or our own if there is none.
pub(super) async fn exchange<F: Forwarding>(
    request: Request<Incoming>,
    route: Option<F::Route>,
    session: &Arc<ClientSession>,
    forwarding: &F,
) -> Response<Answer<F::Lease>> {
    let answer = match route {
        Some(route) => forward(request, route, session, forwarding).await,
        // The stream passes hyper only requests with a route.
        None => Err(Rejection::new(StatusCode::NOT_FOUND, "this is not forwarded")),
    };
    answer.unwrap_or_else(|rejection| {
        session.begin_answer(false);
        rejection.into_response(Arc::clone(session))
    })
}

async fn forward<F: Forwarding>(
    request: Request<Incoming>,
    route: F::Route,
    session: &Arc<ClientSession>,
    forwarding: &F,
) -> Result<Response<Answer<F::Lease>>, Rejection> {
    let (mut parts, body) = request.into_parts();
    let is_http_11 = parts.version == Version::HTTP_11;
    let expects_continue = is_http_11
        && !body.is_end_stream()
        && parts
            .headers
            .get(header::EXPECT)
            .is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if !expects_continue {
        session.request_body();
    }
    let is_repeatable = body.is_end_stream() && parts.method.is_idempotent();
    forwarding.admit(&route, &mut parts).await?;
    let body = (!body.is_end_stream()).then_some(body);
    let mut request = Request::from_parts(parts, Upload { body, session: Arc::clone(session) });
    let informed = Arc::clone(session);
    hyper::ext::on_informational(&mut request, move |interim| match interim.status() {
        StatusCode::CONTINUE => informed.request_body(),
        status if is_http_11 => informed.push_interim(status, interim.headers()),
        _ => {}
    });
    let mut kept = true;
    loop {
        let upstream = forwarding.connect(&route, kept, request.headers_mut()).await?;
        let spare = (is_repeatable && upstream.connection.is_kept()).then(|| copy(&request));
        match send(upstream, request, spare, expects_continue, session, forwarding).await {
            Ok(answer) => return Ok(answer),
            Err(Unanswered::Rejected(rejection)) => return Err(rejection),
            // The idle connection was closed by the application: retry once, on a new connection.
            Err(Unanswered::Stale(again)) => (kept, request) = (false, *again),
        }
    }
}

/// Why an application gave no answer.
enum Unanswered {
    /// The client gets this answer instead.
    Rejected(Rejection),
    /// The idle connection was closed before it carried the request, which can be sent again.
    Stale(Box<Request<Upload>>),
}

async fn send<F: Forwarding>(
    upstream: UpstreamConnection<F::Lease>,
    request: Request<Upload>,
    spare: Option<Request<Upload>>,
    expects_continue: bool,
    session: &Arc<ClientSession>,
    forwarding: &F,
) -> Result<Response<Answer<F::Lease>>, Unanswered> {
    let UpstreamConnection { mut connection, pool, lease } = upstream;
    let mut response = pin!(connection.send(request));
    let mut timeout = pin!(expects_continue.then(|| sleep(CONTINUE_TIMEOUT)));
    let answer = poll_fn(|cx| {
        if session.is_expired() {
            return Poll::Ready(None);
        }
        if let Some(timeout) = timeout.as_mut().as_pin_mut()
            && !session.is_body_requested()
            && timeout.poll(cx).is_ready()
        {
            session.request_body();
        }
        connection.poll_with(cx, |cx| response.as_mut().poll(cx).map(Some))
    })
    .await;
    let answer = match answer {
        Some(Ok(answer)) => answer,
        Some(Err(mut failed)) => {
            if session.is_malformed() {
                forwarding.count(HttpOutcome::BadRequest);
                let text = "the body is not chunked as RFC 9112 section 7.1 requires";
                return Err(Unanswered::Rejected(Rejection::new(StatusCode::BAD_REQUEST, text)));
            }
            // Either no byte of the request was sent, or it is idempotent.
            let again = failed.take_message().or(spare).filter(|_| connection.is_kept());
            if let Some(again) = again {
                return Err(Unanswered::Stale(Box::new(again)));
            }
            forwarding.failed(&lease, &failed.error().to_string());
            return Err(Unanswered::Rejected(no_answer()));
        }
        None if session.is_ending() => {
            forwarding.count(HttpOutcome::RefusedDraining);
            let text = "this server is about to stop: try again";
            let rejection = Rejection::new(StatusCode::SERVICE_UNAVAILABLE, text);
            return Err(Unanswered::Rejected(rejection.retry_after(CONTINUE_TIMEOUT)));
        }
        None => {
            forwarding.failed(&lease, "it did not answer within http_timeout");
            let text = "the application did not answer in time";
            return Err(Unanswered::Rejected(Rejection::new(StatusCode::GATEWAY_TIMEOUT, text)));
        }
    };
    let (mut parts, body) = answer.into_parts();
    // A 101 without an Upgrade in the request.
    if parts.status.is_informational() {
        forwarding.failed(&lease, "it switched protocols without a request to");
        return Err(Unanswered::Rejected(no_answer()));
    }
    // hyper adapts the version to the client.
    parts.version = Version::HTTP_11;
    forwarding.answer(&lease, &mut parts);
    session.begin_answer(is_event_stream(&parts.headers));
    let connection = Some(connection);
    let body = ForwardedBody { connection, pool, body, is_over: false, _lease: lease };
    Ok(Response::from_parts(parts, Answer::forwarded(body, Arc::clone(session))))
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes());
    media_type.is_some_and(|kind| {
        kind.get(..17).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
    })
}

fn no_answer() -> Rejection {
    Rejection::new(StatusCode::BAD_GATEWAY, "the application did not answer")
}

/// Copies a request without a body.
fn copy(request: &Request<Upload>) -> Request<Upload> {
    let body = Upload { body: None, session: Arc::clone(&request.body().session) };
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    copy
}
