//! Health checks over HTTP: a GET of which only the status is read.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::socket::Transport;

/// Returns the status of the answer to a GET; `None` without an answer in time. The body is not read.
///
/// # Cancel safety
/// Dropping the future drops the connection.
pub async fn status(
    transport: impl Transport,
    host: HeaderValue,
    target: &PathAndQuery,
    within: Duration,
) -> Option<StatusCode> {
    let answered = async {
        let (mut sender, mut driver) = http1::handshake(TokioIo::new(transport)).await.ok()?;
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = Uri::from(target.clone());
        let headers = request.headers_mut();
        headers.insert(header::HOST, host);
        headers.insert(header::USER_AGENT, HeaderValue::from_static("lastword"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        let mut answer = pin!(sender.send_request(request));
        let mut over = false;
        let answer = poll_fn(|cx| {
            // Errors are returned by the response future.
            over = over || Pin::new(&mut driver).poll(cx).is_ready();
            answer.as_mut().poll(cx)
        });
        answer.await.ok().map(|answer| answer.status())
    };
    timeout(within, answered).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn ask(answer: &'static str) -> (Option<StatusCode>, String) {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let server = tokio::spawn(async move {
            let mut request = vec![0; 1024];
            let len = theirs.read(&mut request).await.unwrap();
            theirs.write_all(answer.as_bytes()).await.unwrap();
            // It keeps the connection: only the answer's head is waited for.
            (String::from_utf8(request[..len].to_vec()).unwrap(), theirs)
        });
        let target = PathAndQuery::from_static("/healthz?full=1");
        let host = HeaderValue::from_static("app:3000");
        let status = status(ours, host, &target, Duration::from_secs(1)).await;
        (status, server.await.unwrap().0)
    }

    #[tokio::test(start_paused = true)]
    async fn the_status_of_the_answer_is_returned() {
        let (status, request) = ask("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(status, Some(StatusCode::NO_CONTENT));
        assert!(request.starts_with("GET /healthz?full=1 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("host: app:3000\r\n"), "{request}");
        let (status, _) = ask("HTTP/1.1 503 Busy\r\ncontent-length: 5\r\n\r\n").await;
        assert_eq!(status, Some(StatusCode::SERVICE_UNAVAILABLE));
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_and_garbage_have_none() {
        assert_eq!(ask("").await.0, None);
        assert_eq!(ask("SSH-2.0-OpenSSH_9.2\r\n").await.0, None);
    }
}
