//! `/livez`, `/readyz` and `/metrics` for probes and scrapers: a server of its own, on an address of
//! its own, without a token.

use std::time::Duration;

use bytes::Bytes;
use http::header::ALLOW;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use tokio::sync::watch;

use super::probes::{self, Probes};
use super::serving::{self, Door, ServingLimits};

/// How many probes are served at once; of more the longest idle gives way.
const MAX_PROBES: usize = 64;

/// How long a probe may take, from accept to the end of its connection.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves probes until `stop` is true, or its sender is gone.
///
/// Each connection carries one request, whose head has `header_timeout`, and has five seconds for all
/// of it; idle ones give way to others. Nothing that comes here has an effect on the daemon.
///
/// # Cancel safety
/// Dropping the future closes the listener and every probe with it.
pub fn serve(
    door: Door,
    probes: Probes,
    header_timeout: Duration,
    stop: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send {
    let service = move |request: http::Request<_>| {
        let probes = probes.clone();
        async move { answer(&probes, request.method(), request.uri().path()).await }
    };
    let limits = ServingLimits {
        max_connections: MAX_PROBES,
        header_timeout,
        write_timeout: PROBE_TIMEOUT,
        buffer: 8192,
        one_request_within: Some(PROBE_TIMEOUT),
    };
    serving::serve(door, limits, service, stop)
}

async fn answer(probes: &Probes, method: &Method, path: &str) -> Response<Full<Bytes>> {
    let plain =
        |status, text: &str| probes::answer(status, "text/plain; charset=utf-8", text.to_owned());
    match probes.answer(path).await {
        Some(answer) if method == Method::GET || method == Method::HEAD => answer,
        Some(_) => {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        }
        None => plain(StatusCode::NOT_FOUND, "not found"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use tokio::net::{TcpStream, UnixStream};
    use tokio::task::JoinSet;
    use tokio::time::Instant;

    use super::probes::Readiness;
    use super::*;
    use crate::transport::bind::{Acceptor, bind};
    use crate::vocabulary::ListenAddress;

    const HEADER_TIMEOUT: Duration = Duration::from_secs(1);

    /// A server that ends with its test.
    struct Server {
        address: std::net::SocketAddr,
        readiness: watch::Sender<Readiness>,
        _stop: watch::Sender<bool>,
        _task: JoinSet<()>,
    }

    fn probes(readiness: watch::Receiver<Readiness>) -> Probes {
        let readiness = move || readiness.borrow().clone();
        Probes::new(Arc::new(readiness), Arc::new(|| "# EOF\n".to_owned()))
    }

    fn plain(acceptor: Acceptor) -> Door {
        Door { name: "health", acceptor: acceptor.into(), tls: None }
    }

    async fn server() -> Server {
        let acceptor = bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let ListenAddress::Tcp(address) = acceptor.local_addr().unwrap() else { panic!() };
        let (readiness, receiver) = watch::channel(Readiness::Starting);
        let (stop, stopped) = watch::channel(false);
        let mut task = JoinSet::new();
        task.spawn(serve(plain(acceptor), probes(receiver), HEADER_TIMEOUT, stopped));
        Server { address, readiness, _stop: stop, _task: task }
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
        assert_eq!(ask(&server, "GET /metrics").await, said(200, "# EOF\n"));
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
        let acceptor = bind(&ListenAddress::Unix(path.clone())).unwrap();
        let (_sender, receiver) = watch::channel(Readiness::Ready);
        let (_stop, stopped) = watch::channel(false);
        let mut task = JoinSet::new();
        task.spawn(serve(plain(acceptor), probes(receiver), HEADER_TIMEOUT, stopped));
        let response = ask_over(UnixStream::connect(&path).await.unwrap(), "GET /readyz").await;
        assert!(response.ends_with("\r\n\r\nready"), "{response}");
    }

    #[tokio::test]
    async fn a_probe_that_ends_its_side_at_once_gets_its_answer() {
        let acceptor = bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let ListenAddress::Tcp(address) = acceptor.local_addr().unwrap() else { panic!() };
        let slow = || {
            std::thread::sleep(Duration::from_millis(100));
            "# EOF\n".to_owned()
        };
        let probes = Probes::new(Arc::new(|| Readiness::Ready), Arc::new(slow));
        let (_stop, stopped) = watch::channel(false);
        let mut task = JoinSet::new();
        task.spawn(serve(plain(acceptor), probes, PROBE_TIMEOUT, stopped));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        assert!(response.ends_with("\r\n\r\n# EOF\n"), "{response:?}");
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
    async fn a_server_that_panics_goes_on_serving() {
        let server = server().await;
        crate::runtime::tasks::panic_points::arm(&server.address.to_string());
        // The first of them lets the server panic.
        for _ in 0..3 {
            assert_eq!(ask(&server, "GET /livez").await, said(200, "ok"));
        }
    }

    #[tokio::test]
    async fn silent_connections_give_way_at_once() {
        let server = server().await;
        let mut silent = Vec::new();
        for _ in 0..300 {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            stream.write_all(b"GET /livez HTTP/1.1\r\nHo").await.unwrap();
            silent.push(stream);
        }
        for _ in 0..5 {
            let started = Instant::now();
            assert_eq!(ask(&server, "GET /livez").await, said(200, "ok"));
            assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        }
    }

    #[tokio::test]
    async fn a_request_that_does_not_come_is_waited_for_as_long_as_is_configured() {
        let server = server().await;
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let started = Instant::now();
        let _ = stream.read_to_end(&mut Vec::new()).await;
        let waited = started.elapsed();
        assert!(waited >= HEADER_TIMEOUT && waited < PROBE_TIMEOUT, "{waited:?}");
    }
}
