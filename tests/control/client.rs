//! A small client of HTTP/1.1, so that what goes over the wire is what the test says.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::timeout;

use crate::support::SOON;

pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Where an API is.
#[derive(Debug, Clone)]
pub enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self::Unix(path.to_owned())
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.split("\r\n").find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The JSON of an answer that has to have this status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }

    /// Asserts that it is a refusal with this word, and returns its JSON.
    #[track_caller]
    pub fn refused(&self, status: u16, word: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(problem["type"], format!("urn:lastword:{word}"), "{self:?}");
        assert_eq!(problem["status"], status);
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        problem
    }
}

/// A client that sends one request per connection.
#[derive(Debug, Clone)]
pub struct Client {
    pub place: Place,
    /// Further header lines of each request, each with its CRLF.
    pub headers: String,
}

impl Client {
    pub fn new(place: impl Into<Place>) -> Self {
        Self { place: place.into(), headers: String::new() }
    }

    pub fn with(&self, headers: &str) -> Self {
        Self { headers: format!("{}{headers}\r\n", self.headers), ..self.clone() }
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.send(&format!("GET {target}"), None).await
    }

    /// The connections that a query selects, once there are so many.
    pub async fn selected(&self, query: &str, count: usize) -> Vec<Value> {
        let deadline = tokio::time::Instant::now() + SOON;
        loop {
            let page = self.get(&format!("/v1/connections?{query}")).await.expect(200);
            let found = page["connections"].as_array().unwrap();
            if found.len() == count {
                return found.clone();
            }
            assert!(tokio::time::Instant::now() < deadline, "awaited {count}, in vain: {page}");
        }
    }

    pub async fn delete(&self, target: &str) -> Answer {
        self.send(&format!("DELETE {target}"), None).await
    }

    pub async fn post(&self, target: &str, body: &str) -> Answer {
        self.send(&format!("POST {target}"), Some(("application/json", body))).await
    }

    /// Sends `GET /path` with a body of this type.
    pub async fn send(&self, line: &str, body: Option<(&str, &str)>) -> Answer {
        let mut request = format!("{line} HTTP/1.1\r\n{}", self.headers);
        if !self.headers.split("\r\n").any(|line| line.starts_with("Host:")) {
            request += "Host: localhost\r\n";
        }
        if let Some((content_type, body)) = body {
            request +=
                &format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
        }
        request += "Connection: close\r\n\r\n";
        request += body.map_or("", |(_, body)| body);
        self.exchange(&request).await
    }

    /// Sends these bytes, and reads the answer up to the end of the connection.
    pub async fn exchange(&self, request: &str) -> Answer {
        let mut stream = self.open().await;
        // The server may have answered before it has all of it.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut bytes = Vec::new();
        let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await;
        let _ = read.unwrap_or_else(|_| panic!("awaited an answer to {request:?}"));
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| {
            panic!("awaited an answer to {request:?}, got {text:?}");
        });
        let status = head[9..12].parse().unwrap();
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub async fn open(&self) -> Box<dyn Stream> {
        match &self.place {
            Place::Tcp(address) => Box::new(TcpStream::connect(address).await.unwrap()),
            Place::Unix(path) => Box::new(UnixStream::connect(path).await.unwrap()),
        }
    }

    /// Follows events.
    pub async fn follow(&self, query: &str) -> Events {
        self.follow_over(self.open().await, query).await
    }

    /// Follows events through a socket that takes little.
    pub async fn follow_slowly(&self, query: &str) -> Events {
        let Place::Tcp(address) = self.place else { panic!("not TCP") };
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(2048).unwrap();
        let stream = socket.connect(address).await.unwrap();
        self.follow_over(Box::new(stream), query).await
    }

    async fn follow_over(&self, mut stream: Box<dyn Stream>, query: &str) -> Events {
        let headers = &self.headers;
        let request = format!("GET /v1/events{query} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut events = Events { stream, raw: Vec::new(), text: String::new(), ended: false };
        let head = loop {
            if let Some(end) = events.raw.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = events.raw.drain(..end + 4).collect();
                break String::from_utf8(head).unwrap();
            }
            assert!(events.read().await, "no answer: {:?}", events.raw.escape_ascii().to_string());
        };
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.contains("content-type: text/event-stream\r\n"), "{head}");
        events
    }
}

/// A stream of events.
pub struct Events {
    stream: Box<dyn Stream>,
    raw: Vec<u8>,
    text: String,
    ended: bool,
}

/// An event, or what else stands between two empty lines.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub word: String,
    pub id: Option<u64>,
    pub data: Value,
    /// Comments, and fields that are no event's.
    pub rest: String,
}

impl Events {
    /// Returns the next event, passing over comments; `None` at the end.
    pub async fn next(&mut self) -> Option<Told> {
        let awaited = async {
            loop {
                let told = self.next_block().await?;
                if !told.word.is_empty() {
                    return Some(told);
                }
            }
        };
        timeout(SOON * 4, awaited).await.expect("awaited an event in vain")
    }

    /// Returns the next event, comment or field; `None` at the end.
    pub async fn next_block(&mut self) -> Option<Told> {
        loop {
            self.take_chunks();
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let told = Told::read(block);
                self.text = rest.to_owned();
                return Some(told);
            }
            if self.ended {
                return None;
            }
            if !self.read().await {
                self.ended = true;
            }
        }
    }

    /// Returns all events up to the end.
    pub async fn rest(&mut self) -> Vec<Told> {
        let mut all = Vec::new();
        while let Some(told) = self.next().await {
            all.push(told);
        }
        all
    }

    async fn read(&mut self) -> bool {
        self.stream.read_buf(&mut self.raw).await.is_ok_and(|read| read > 0)
    }

    /// Takes chunks (RFC 9112 section 7.1) that have come whole.
    fn take_chunks(&mut self) {
        while let Some(line) = self.raw.windows(2).position(|two| two == b"\r\n") {
            let size = std::str::from_utf8(&self.raw[..line]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            if self.raw.len() < line + 2 + size + 2 {
                return;
            }
            let chunk: Vec<u8> = self.raw.drain(..line + 2 + size + 2).collect();
            self.text += std::str::from_utf8(&chunk[line + 2..line + 2 + size]).unwrap();
            self.ended |= size == 0;
        }
    }
}

impl Told {
    fn read(block: &str) -> Self {
        let mut told =
            Self { word: String::new(), id: None, data: Value::Null, rest: String::new() };
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("event", word)) => word.clone_into(&mut told.word),
                Some(("id", id)) => told.id = Some(id.parse().unwrap()),
                Some(("data", data)) => told.data = serde_json::from_str(data).unwrap(),
                _ => told.rest += line,
            }
        }
        told
    }

    /// The id of the connection whose ending it tells.
    pub fn ended(&self) -> &str {
        self.data["ending"]["id"].as_str().unwrap_or_else(|| panic!("no ending: {self:?}"))
    }
}
