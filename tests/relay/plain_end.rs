//! One end of plain HTTP, as raw bytes.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::stage::House;
use crate::support::{A_WHILE, SOON};

/// One end of a connection, and what was read of it.
pub struct End {
    pub stream: TcpStream,
    pub read: Vec<u8>,
}

impl End {
    pub async fn connect(house: &House) -> Self {
        Self { stream: TcpStream::connect(house.address).await.unwrap(), read: Vec::new() }
    }

    pub async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = timeout(SOON, listener.accept()).await.expect("awaited a dial").unwrap();
        Self { stream, read: Vec::new() }
    }

    pub async fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads up to and with `end`, and returns it as it came.
    pub async fn until(&mut self, end: &str) -> String {
        self.until_within(end, SOON).await
    }

    pub async fn until_within(&mut self, end: &str, within: Duration) -> String {
        let mut seen = 0;
        let found = timeout(within, async {
            loop {
                let text = String::from_utf8_lossy(&self.read);
                if let Some(at) = text.find(end) {
                    seen = at + end.len();
                    return;
                }
                let read = self.stream.read_buf(&mut self.read).await.unwrap();
                assert_ne!(read, 0, "awaited {end:?}, got {}", self.read.escape_ascii());
            }
        });
        if found.await.is_err() {
            panic!("awaited {end:?} for {within:?}, got {}", self.read.escape_ascii());
        }
        String::from_utf8(self.read.drain(..seen).collect()).unwrap()
    }

    pub async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    pub async fn silence(&mut self) {
        assert!(self.read.is_empty(), "{}", self.read.escape_ascii());
        let more = timeout(A_WHILE, self.stream.read_buf(&mut self.read)).await;
        assert!(more.is_err(), "{more:?}: {}", self.read.escape_ascii());
    }

    pub async fn end(&mut self) {
        let end = timeout(SOON, self.stream.read_buf(&mut self.read)).await;
        assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}: {}", self.read.escape_ascii());
    }
}
