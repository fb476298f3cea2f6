//! `/livez` and `/readyz` for probes: a tiny HTTP server of its own, on an address of its own.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Readiness;

/// How many probes are served at once; more wait in the backlog.
const MAX_PROBES: usize = 64;

/// How long a probe may take, from accept to the end of its connection.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many bytes a request may have; hyper takes no less.
const MAX_REQUEST: usize = 8192;

/// How long to wait before accepting again when the system refuses, as it does when descriptors
/// have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where probes are served.
#[derive(Debug)]
pub enum HealthListener {
    /// A TCP socket.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl From<TcpListener> for HealthListener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<UnixListener> for HealthListener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

/// Serves probes for as long as it is polled.
///
/// Each connection carries one request and has five seconds for it. Nothing that comes here has an
/// effect on the daemon.
///
/// # Cancel safety
/// Dropping the future closes the listener and every probe with it.
pub async fn serve(listener: impl Into<HealthListener>, readiness: watch::Receiver<Readiness>) {
    let listener = listener.into();
    let mut probes = JoinSet::new();
    let mut refused = false;
    loop {
        tokio::select! {
            accepted = accept(&listener), if probes.len() < MAX_PROBES => match accepted {
                Ok(Probe::Tcp(stream)) => {
                    refused = false;
                    probes.spawn(answer_one(stream, readiness.clone()));
                }
                Ok(Probe::Unix(stream)) => {
                    refused = false;
                    probes.spawn(answer_one(stream, readiness.clone()));
                }
                Err(error) => {
                    if !refused {
                        tracing::warn!(%error, "health probes cannot be accepted");
                    }
                    refused = true;
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            // How a probe ended, and be it by a panic, is no concern of the others.
            Some(_) = probes.join_next() => {}
        }
    }
}

enum Probe {
    Tcp(TcpStream),
    Unix(UnixStream),
}

async fn accept(listener: &HealthListener) -> io::Result<Probe> {
    match listener {
        HealthListener::Tcp(listener) => Ok(Probe::Tcp(listener.accept().await?.0)),
        HealthListener::Unix(listener) => Ok(Probe::Unix(listener.accept().await?.0)),
    }
}

async fn answer_one(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    readiness: watch::Receiver<Readiness>,
) {
    let service = service_fn(|request: Request<_>| {
        let response = answer(request.method(), request.uri().path(), *readiness.borrow());
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PROBE_TIMEOUT)
        .keep_alive(false)
        .max_buf_size(MAX_REQUEST)
        .serve_connection(TokioIo::new(stream), service);
    // A probe that sends garbage, or goes away, has its answer or wants none.
    let _ = timeout(PROBE_TIMEOUT, served).await;
}

fn answer(method: &Method, path: &str, readiness: Readiness) -> Response<Full<Bytes>> {
    let (status, text) = match (path, readiness) {
        ("/livez" | "/readyz", _) if method != Method::GET && method != Method::HEAD => {
            (StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
        }
        ("/livez", _) => (StatusCode::OK, "ok"),
        ("/readyz", Readiness::Ready) => (StatusCode::OK, readiness.as_str()),
        ("/readyz", Readiness::Starting | Readiness::Draining) => {
            (StatusCode::SERVICE_UNAVAILABLE, readiness.as_str())
        }
        (_, _) => (StatusCode::NOT_FOUND, "not found"),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    /// A server that ends with its test.
    struct Server {
        address: std::net::SocketAddr,
        readiness: watch::Sender<Readiness>,
        _task: JoinSet<()>,
    }

    async fn server() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (readiness, receiver) = watch::channel(Readiness::Starting);
        let mut task = JoinSet::new();
        task.spawn(serve(listener, receiver));
        Server { address, readiness, _task: task }
    }

    async fn ask_over(mut stream: impl AsyncRead + AsyncWrite + Unpin, line: &str) -> String {
        stream.write_all(format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    }

    /// Asks and returns the status and the body.
    async fn ask(server: &Server, line: &str) -> (u16, String) {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let response = ask_over(stream, line).await;
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    fn said(status: u16, text: &str) -> (u16, String) {
        (status, text.to_owned())
    }

    #[tokio::test]
    async fn readiness_follows_the_daemon_and_liveness_does_not() {
        let server = server().await;
        assert_eq!(ask(&server, "GET /readyz").await, said(503, "starting"));
        assert_eq!(ask(&server, "GET /livez").await, said(200, "ok"));
        server.readiness.send_replace(Readiness::Ready);
        assert_eq!(ask(&server, "GET /readyz").await, said(200, "ready"));
        assert_eq!(ask(&server, "GET /readyz?verbose").await, said(200, "ready"));
        assert_eq!(ask(&server, "HEAD /readyz").await, said(200, ""));
        server.readiness.send_replace(Readiness::Draining);
        assert_eq!(ask(&server, "GET /readyz").await, said(503, "draining"));
        assert_eq!(ask(&server, "GET /livez").await, said(200, "ok"));
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_found_and_nothing_can_be_changed() {
        let server = server().await;
        assert_eq!(ask(&server, "GET /").await, said(404, "not found"));
        assert_eq!(ask(&server, "POST /nowhere").await, said(404, "not found"));
        let stream = TcpStream::connect(server.address).await.unwrap();
        let response = ask_over(stream, "POST /livez").await.to_lowercase();
        assert!(response.starts_with("http/1.1 405 "), "{response}");
        assert!(response.contains("\r\nallow: get, head\r\n"), "{response}");
        assert!(response.contains("\r\nconnection: close\r\n"), "{response}");
    }

    #[tokio::test]
    async fn probes_are_answered_on_a_unix_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("health.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (_sender, receiver) = watch::channel(Readiness::Ready);
        let mut task = JoinSet::new();
        task.spawn(serve(listener, receiver));
        let response = ask_over(UnixStream::connect(&path).await.unwrap(), "GET /readyz").await;
        assert!(response.ends_with("\r\n\r\nready"), "{response}");
    }

    #[tokio::test]
    async fn garbage_and_oversized_requests_harm_nobody() {
        let server = server().await;
        for garbage in [&b"\x16\x03\x01\x02\0\x01\0"[..], &[b'a'; 100_000][..]] {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            // The server may have answered and closed before all of it is written.
            let _ = stream.write_all(garbage).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        assert_eq!(ask(&server, "GET /livez").await, said(200, "ok"));
    }

    #[tokio::test]
    async fn silent_probes_give_way_in_time() {
        let server = server().await;
        let mut silent = Vec::new();
        for _ in 0..MAX_PROBES {
            silent.push(TcpStream::connect(server.address).await.unwrap());
        }
        let started = Instant::now();
        assert_eq!(ask(&server, "GET /livez").await, said(200, "ok"));
        assert!(started.elapsed() < PROBE_TIMEOUT + Duration::from_secs(2));
    }
}
