//! A client of one HTTP server that sends GET: bounded in time and bytes, with connections that are
//! kept.

use std::fmt;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::connect::{ConnectFacts, ConnectOptions, connect};
use super::idle_pool::{IdlePool, Reusable};
use super::socket::Transport;
use super::tls::Trust;
use crate::protocol::url::Url;
use crate::settings::HttpUrl;

/// Sends GET to one server.
pub struct HttpGet {
    server: Server,
    idle: Arc<IdlePool<Connection>>,
}

enum Server {
    Tcp(Url, Trust),
    Unix(PathBuf),
}

/// An answer that was read whole.
#[derive(Debug)]
pub struct HttpAnswer {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Why there is no answer. No message repeats what the server sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoHttpAnswer {
    /// The server could not be connected to.
    #[error("{0}")]
    NotConnected(String),
    /// The answer did not come in time.
    #[error("no whole answer came within {0:?}")]
    TooSlow(Duration),
    /// The answer is longer than is read.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// The server closed the connection, or does not speak HTTP.
    #[error("the server gave no valid answer ({0})")]
    Invalid(String),
}

impl HttpGet {
    /// Makes a client of the server of this URL. `trust` holds for `https`.
    pub fn new(url: &HttpUrl, trust: Trust) -> Self {
        let server = match url {
            HttpUrl::Tcp(url) => Server::Tcp(url.clone(), trust),
            HttpUrl::Unix(path) => Server::Unix(path.clone()),
        };
        Self { server, idle: Arc::default() }
    }

    /// Asks for `target`, and reads an answer of at most `limit` bytes, all within a time.
    ///
    /// A kept connection that turns out to be closed is replaced by a new one, once.
    ///
    /// # Errors
    /// [`NoHttpAnswer`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the request and its connection.
    pub async fn get(
        &self,
        target: &PathAndQuery,
        headers: HeaderMap,
        limit: usize,
        within: Duration,
    ) -> Result<HttpAnswer, NoHttpAnswer> {
        let answered = timeout(within, self.ask(target, headers, limit, within)).await;
        answered.unwrap_or(Err(NoHttpAnswer::TooSlow(within)))
    }

    async fn ask(
        &self,
        target: &PathAndQuery,
        headers: HeaderMap,
        limit: usize,
        within: Duration,
    ) -> Result<HttpAnswer, NoHttpAnswer> {
        if let Some(mut kept) = self.idle.take() {
            match kept.exchange(self.request(target, headers.clone()), limit).await {
                Err(Failed::BeforeTheAnswer(_)) => {}
                Err(Failed::Final(error)) => return Err(error),
                Ok(answer) => {
                    self.idle.keep(kept);
                    return Ok(answer);
                }
            }
        }
        let mut connection = Connection::new(self.connect(within).await?).await?;
        let answer = connection.exchange(self.request(target, headers), limit).await?;
        self.idle.keep(connection);
        Ok(answer)
    }

    fn request(&self, target: &PathAndQuery, headers: HeaderMap) -> Request<Empty<Bytes>> {
        let host = match &self.server {
            Server::Tcp(url, _) => url.authority().clone(),
            Server::Unix(_) => HeaderValue::from_static("localhost"),
        };
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = Uri::from(target.clone());
        *request.headers_mut() = headers;
        request.headers_mut().insert(header::HOST, host);
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static("lastword"));
        request
    }

    async fn connect(&self, within: Duration) -> Result<Box<dyn Transport>, NoHttpAnswer> {
        match &self.server {
            Server::Tcp(url, trust) => {
                let options = ConnectOptions {
                    url,
                    trust,
                    proxy: None,
                    source: None,
                    connect_timeout: within,
                    handshake_timeout: within,
                };
                let connected = connect(options, &mut ConnectFacts::default()).await;
                connected.map_err(|failed| NoHttpAnswer::NotConnected(failed.detail))
            }
            Server::Unix(path) => match UnixStream::connect(path).await {
                Ok(socket) => Ok(Box::new(socket)),
                Err(error) => Err(NoHttpAnswer::NotConnected(format!(
                    "cannot connect to {}: {error}",
                    path.display()
                ))),
            },
        }
    }
}

impl fmt::Debug for HttpGet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("HttpGet");
        match &self.server {
            Server::Tcp(url, _) => shown.field("host", &url.host()),
            Server::Unix(path) => shown.field("path", path),
        };
        shown.finish_non_exhaustive()
    }
}

/// Why an exchange failed.
enum Failed {
    /// No byte of an answer came: the connection may have been closed while it was unused.
    BeforeTheAnswer(NoHttpAnswer),
    Final(NoHttpAnswer),
}

impl From<Failed> for NoHttpAnswer {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::BeforeTheAnswer(error) | Failed::Final(error) => error,
        }
    }
}

/// A connection, which is driven by its user.
struct Connection {
    sender: http1::SendRequest<Empty<Bytes>>,
    driver: Driver,
    has_ended: bool,
}

type Driver = Pin<Box<http1::Connection<TokioIo<Box<dyn Transport>>, Empty<Bytes>>>>;

impl Connection {
    async fn new(transport: Box<dyn Transport>) -> Result<Self, NoHttpAnswer> {
        let opened =
            http1::Builder::new().max_buf_size(64 * 1024).handshake(TokioIo::new(transport));
        let (sender, driver) = opened.await.map_err(invalid)?;
        Ok(Self { sender, driver: Box::pin(driver), has_ended: false })
    }

    async fn exchange(
        &mut self,
        request: Request<Empty<Bytes>>,
        limit: usize,
    ) -> Result<HttpAnswer, Failed> {
        let answer = self.sender.send_request(request);
        let answer = self.driving(answer).await;
        let answer = answer.map_err(|error| match error.is_parse() {
            true => Failed::Final(invalid(error)),
            false => Failed::BeforeTheAnswer(invalid(error)),
        })?;
        let (parts, mut incoming) = answer.into_parts();
        let mut body = BytesMut::new();
        while let Some(frame) = self.driving(incoming.frame()).await {
            let frame = frame.map_err(|error| Failed::Final(invalid(error)))?;
            let Ok(data) = frame.into_data() else { continue };
            if body.len() + data.len() > limit {
                return Err(Failed::Final(NoHttpAnswer::TooLong(limit)));
            }
            body.extend_from_slice(&data);
        }
        Ok(HttpAnswer { status: parts.status, headers: parts.headers, body: body.freeze() })
    }

    /// Waits for a future of hyper's while it drives the connection.
    async fn driving<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        poll_fn(|cx| {
            self.poll_driver(cx);
            match future.as_mut().poll(cx) {
                Poll::Pending => {
                    // What the future has just asked for.
                    self.poll_driver(cx);
                    future.as_mut().poll(cx)
                }
                ready => ready,
            }
        })
        .await
    }

    fn poll_driver(&mut self, cx: &mut Context<'_>) {
        self.has_ended = self.has_ended || self.driver.as_mut().poll(cx).is_ready();
    }
}

impl Reusable for Connection {
    /// Shorter than most servers keep theirs.
    const IDLE_TIMEOUT: Duration = Duration::from_secs(2);

    const MAX_IDLE: usize = 32;

    fn is_free(&mut self) -> bool {
        // The no-op waker is fine, because the next user polls it again.
        self.poll_driver(&mut Context::from_waker(Waker::noop()));
        !self.has_ended && self.sender.is_ready()
    }
}

fn invalid(error: hyper::Error) -> NoHttpAnswer {
    NoHttpAnswer::Invalid(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// A server that answers each request with the next of these, and the number of its connections.
    /// `None` closes the connection.
    async fn serve(answers: Vec<Option<String>>) -> (HttpGet, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/auth", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            let mut answers = answers.into_iter();
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let mut request = vec![0; 4096];
                while socket.read(&mut request).await.is_ok_and(|read| read > 0) {
                    match answers.next() {
                        Some(Some(answer)) => socket.write_all(answer.as_bytes()).await.unwrap(),
                        Some(None) => break,
                        None => std::future::pending().await,
                    }
                }
            }
        });
        (HttpGet::new(&url.parse().unwrap(), Trust::Platform), connections)
    }

    fn answer(body: &str) -> Option<String> {
        Some(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }

    async fn get(client: &HttpGet) -> Result<String, NoHttpAnswer> {
        let target = PathAndQuery::from_static("/auth");
        let answer = client.get(&target, HeaderMap::new(), 100, SOON).await?;
        Ok(String::from_utf8(answer.body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_connection_is_used_again() {
        let (client, connections) = serve(vec![answer("a"), answer("b"), answer("c")]).await;
        for body in ["a", "b", "c"] {
            assert_eq!(get(&client).await.unwrap(), body);
        }
        assert_eq!(connections.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_kept_connection_that_is_closed_on_the_request_is_replaced_once() {
        let (client, connections) = serve(vec![answer("a"), None, answer("b"), None, None]).await;
        assert_eq!(get(&client).await.unwrap(), "a");
        assert_eq!(get(&client).await.unwrap(), "b");
        assert_eq!(connections.load(Ordering::SeqCst), 2);
        assert!(matches!(get(&client).await, Err(NoHttpAnswer::Invalid(_))));
        assert_eq!(connections.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn an_answer_is_bounded_in_bytes() {
        let (client, _) = serve(vec![answer(&"x".repeat(100)), answer(&"x".repeat(101))]).await;
        assert_eq!(get(&client).await.unwrap().len(), 100);
        assert_eq!(get(&client).await, Err(NoHttpAnswer::TooLong(100)));
        let endless = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()
            + &"a\r\n0123456789\r\n".repeat(20);
        let (client, _) = serve(vec![Some(endless)]).await;
        assert_eq!(get(&client).await, Err(NoHttpAnswer::TooLong(100)));
    }

    #[tokio::test]
    async fn an_answer_is_bounded_in_time_and_garbage_is_none() {
        let target = PathAndQuery::from_static("/");
        for begun in ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"] {
            let (client, _) = serve(vec![Some(begun.to_owned())]).await;
            let brief = Duration::from_millis(50);
            let slow = client.get(&target, HeaderMap::new(), 100, brief).await;
            assert_eq!(slow.unwrap_err(), NoHttpAnswer::TooSlow(brief));
        }
        let (client, _) = serve(vec![Some("SSH-2.0-OpenSSH_9.2\r\n".to_owned())]).await;
        assert!(matches!(get(&client).await, Err(NoHttpAnswer::Invalid(_))));
        let client = HttpGet::new(&"http://127.0.0.1:1".parse().unwrap(), Trust::Platform);
        assert!(matches!(get(&client).await, Err(NoHttpAnswer::NotConnected(_))));
    }

    #[tokio::test]
    async fn a_unix_socket_does_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = socket.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            assert!(request.starts_with("GET /auth HTTP/1.1\r\n"), "{request}");
            socket.write_all(answer("x").unwrap().as_bytes()).await.unwrap();
        });
        let url = format!("http+unix:{}", path.display()).parse().unwrap();
        assert_eq!(get(&HttpGet::new(&url, Trust::Platform)).await.unwrap(), "x");
    }
}
