//! A control API that says what a test wants it to say, and remembers what it was asked.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;

use super::{Ran, lastword, ran};

/// What the API was asked.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// `GET /v1/status`.
    pub(super) line: String,
    pub(super) headers: http::HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Asked {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a body of JSON")
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }
}

/// What it answers.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// This status and body.
    Json(u16, String),
    /// A refusal with this status, word and detail.
    Problem(u16, &'static str, &'static str),
    /// This status with a body of this type.
    Other(u16, &'static str, &'static str),
    /// Nothing, for as long as anybody waits.
    Silence,
    /// This stream of events, and then its end.
    Events(&'static str),
}

impl Reply {
    pub(super) fn ok(body: impl Into<String>) -> Self {
        Self::Json(200, body.into())
    }

    pub(super) fn not_found() -> Self {
        Self::Problem(404, "not_found", "there is no such thing")
    }
}

/// What the problem says, byte for byte.
pub(super) fn problem(status: u16, word: &str, detail: &str) -> String {
    format!(r#"{{"type":"urn:lastword:{word}","title":"t","status":{status},"detail":"{detail}"}}"#)
}

/// A control API; it ends with the test.
pub(super) struct Fake {
    /// What `--control` takes.
    pub(super) address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    _runtime: Runtime,
}

impl Fake {
    /// Starts an API that gives these replies, each to one request, in this order.
    pub(super) fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        let runtime = runtime();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("bind");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let state = State::new(replies);
        let asked = Arc::clone(&state.asked);
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accept");
                tokio::spawn(serve(stream, state.clone()));
            }
        });
        Self { address, asked, _runtime: runtime }
    }

    /// Does the same on a Unix socket.
    pub(super) fn on_unix(path: &Path, replies: impl IntoIterator<Item = Reply>) -> Self {
        let runtime = runtime();
        let state = State::new(replies);
        let asked = Arc::clone(&state.asked);
        let bound = path.to_owned();
        let listener = runtime.block_on(async move { UnixListener::bind(bound).expect("bind") });
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accept");
                tokio::spawn(serve(stream, state.clone()));
            }
        });
        Self { address: format!("unix:{}", path.display()), asked, _runtime: runtime }
    }

    /// Makes a command that asks this API.
    pub(super) fn command(&self, arguments: &[&str]) -> assert_cmd::Command {
        let mut command = lastword(arguments);
        command.env("LASTWORD_CONTROL", &self.address);
        command
    }

    /// Runs a command that asks this API.
    pub(super) fn run(&self, arguments: &[&str]) -> Ran {
        ran(self.command(arguments))
    }

    /// What was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The request lines so far.
    pub(super) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }

    /// Waits until so much was asked.
    pub(super) fn await_asked(&self, count: usize) {
        for _ in 0..1000 {
            if self.asked().len() >= count {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("awaited {count} requests, got {:?}", self.lines());
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[derive(Clone)]
struct State {
    replies: Arc<Mutex<VecDeque<Reply>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl State {
    fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        let replies = replies.into_iter().collect();
        Self { replies: Arc::new(Mutex::new(replies)), asked: Arc::default() }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, state: State) {
    let service = service_fn(|request| answer(request, state.clone()));
    // A client that goes away in the middle has what it wants.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: Request<Incoming>,
    state: State,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let line = format!("{} {}", request.method(), request.uri());
    let headers = request.headers().clone();
    let body = request.into_body().collect().await.expect("a whole body").to_bytes().to_vec();
    state.asked.lock().unwrap().push(Asked { line: line.clone(), headers, body });
    let reply = state.replies.lock().unwrap().pop_front();
    let (status, kind, body) = match reply {
        Some(Reply::Json(status, body)) => (status, "application/json", whole(body)),
        Some(Reply::Problem(status, word, detail)) => {
            (status, "application/problem+json", whole(problem(status, word, detail)))
        }
        Some(Reply::Other(status, kind, body)) => (status, kind, whole(body.to_owned())),
        Some(Reply::Silence) => std::future::pending().await,
        Some(Reply::Events(events)) => (200, "text/event-stream", in_pieces(events)),
        None => (500, "text/plain", whole(format!("nothing is due for {line}"))),
    };
    let response = Response::builder().status(status).header("content-type", kind);
    Ok(response.body(body).expect("a response"))
}

fn whole(body: String) -> BoxBody<Bytes, Infallible> {
    Full::from(body).boxed()
}

/// A body that comes in pieces which care for no line.
fn in_pieces(body: &'static str) -> BoxBody<Bytes, Infallible> {
    let pieces = body.as_bytes().chunks(7).map(|piece| Ok(Frame::data(Bytes::from_static(piece))));
    BodyExt::boxed(StreamBody::new(stream::iter(pieces)))
}
