//! The opening handshake by hand (RFC 6455 section 4), for either side, and plain HTTP answers.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::SOON;

/// The key and its answer of RFC 6455 section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The first line and the headers of a request or an answer.
#[derive(Debug, Clone)]
pub struct Head {
    /// `GET /echo HTTP/1.1`, or `HTTP/1.1 101 Switching Protocols`.
    pub start_line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Head {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The path and query of a request.
    pub fn target(&self) -> &str {
        self.start_line.split(' ').nth(1).expect("a request line with a target")
    }

    /// The status of an answer.
    pub fn status(&self) -> u16 {
        let status = self.start_line.split(' ').nth(1).and_then(|word| word.parse().ok());
        status.unwrap_or_else(|| panic!("awaited a status line, got {:?}", self.start_line))
    }

    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.trim_end().split("\r\n");
        let start_line = lines.next().unwrap_or_default().to_owned();
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned())).collect();
        Self { start_line, headers }
    }
}

/// An answer to a request that was not upgraded.
#[derive(Debug, Clone)]
pub struct Answer {
    pub head: Head,
    pub body: String,
}

/// A legal upgrade request; `more` is further header lines, each with its CRLF.
pub fn upgrade_request(host: &str, target: &str, more: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    )
}

/// Sends `request` as it is and reads the answer until the server ends the connection.
pub async fn exchange(addr: SocketAddr, request: impl AsRef<[u8]>, within: Duration) -> Answer {
    let mut stream = TcpStream::connect(addr).await.expect("connect");
    // The server may answer, and go, before it has taken the whole of a bad request.
    let _ = stream.write_all(request.as_ref()).await;
    let mut bytes = Vec::new();
    timeout(within, stream.read_to_end(&mut bytes))
        .await
        .unwrap_or_else(|_| {
            panic!("awaited an HTTP answer and its end, got {}", bytes.escape_ascii())
        })
        .unwrap_or_else(|e| panic!("awaited an HTTP answer: {e}; got {}", bytes.escape_ascii()));
    let end = head_end(&bytes).unwrap_or_else(|| {
        panic!("awaited an HTTP answer, got \"{}\"", bytes.escape_ascii());
    });
    let body = String::from_utf8_lossy(&bytes[end..]).into_owned();
    Answer { head: Head::parse(&bytes[..end]), body }
}

/// Asserts that the answer to our upgrade request is a right 101, and returns it.
pub(super) async fn read_101(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Head {
    let head = read_head(stream, buffer, "the 101 to our upgrade").await;
    assert_eq!(head.status(), 101, "awaited a 101, got {head:?}");
    let word = |name| head.header(name).map(str::to_ascii_lowercase);
    assert_eq!(word("upgrade").as_deref(), Some("websocket"), "in {head:?}");
    assert_eq!(word("connection").as_deref(), Some("upgrade"), "in {head:?}");
    assert_eq!(head.header("sec-websocket-accept"), Some(ACCEPT), "in {head:?}");
    head
}

/// Asserts that a right upgrade request comes and answers it; `more` is further header lines.
pub(super) async fn answer_101(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    buffer: &mut Vec<u8>,
    more: &str,
    glued: &[u8],
) -> Head {
    let head = read_request(stream, buffer).await;
    assert!(head.start_line.starts_with("GET "), "awaited GET, got {head:?}");
    assert_eq!(head.header("sec-websocket-version"), Some("13"), "in {head:?}");
    let key = head.header("sec-websocket-key").expect("a Sec-WebSocket-Key");
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{more}\r\n"
    );
    stream.write_all(&[answer.as_bytes(), glued].concat()).await.expect("send the 101");
    stream.flush().await.expect("send the 101");
    head
}

/// Reads a request and leaves what follows it in `buffer`.
pub async fn read_request(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Head {
    read_head(stream, buffer, "an upgrade request").await
}

async fn read_head(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    awaited: &str,
) -> Head {
    let head = timeout(SOON, async {
        loop {
            if let Some(end) = head_end(buffer) {
                let head: Vec<u8> = buffer.drain(..end).collect();
                return Head::parse(&head);
            }
            let read = stream.read_buf(buffer).await;
            let read = read.unwrap_or_else(|e| panic!("awaited {awaited}: {e}"));
            assert_ne!(
                read,
                0,
                "awaited {awaited}, got the end after \"{}\"",
                buffer.escape_ascii()
            );
        }
    });
    head.await.unwrap_or_else(|_| panic!("awaited {awaited} for {SOON:?} in vain"))
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}
