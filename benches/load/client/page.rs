//! Fetching pages with keep-alive, as a browser does.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::measure::Histogram;

/// A client of plain HTTP.
pub(crate) struct Reader {
    socket: TcpStream,
    request: String,
}

impl Reader {
    pub(crate) async fn open(server: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(server).await?;
        socket.set_nodelay(true)?;
        let request = format!(
            "GET /page?n=1 HTTP/1.1\r\nHost: {server}\r\nUser-Agent: load\r\nAccept: */*\r\n\
             Accept-Language: en\r\nCookie: session=0123456789abcdef\r\n\r\n"
        );
        Ok(Self { socket, request })
    }

    /// Fetches pages, one after the other, until a time; returns their number.
    pub(crate) async fn fetch(
        &mut self,
        until: Instant,
        latencies: &mut Histogram,
    ) -> io::Result<u64> {
        let (mut pages, mut buffer) = (0, Vec::with_capacity(8192));
        let mut sent = Instant::now();
        while sent < until {
            self.socket.write_all(self.request.as_bytes()).await?;
            buffer.clear();
            while !is_whole(&buffer)? {
                if self.socket.read_buf(&mut buffer).await? == 0 {
                    return Err(io::Error::other(format!("cut off: {}", buffer.escape_ascii())));
                }
            }
            pages += 1;
            let now = Instant::now();
            latencies.add(now - sent);
            sent = now;
        }
        Ok(pages)
    }
}

/// Returns whether an answer is complete.
fn is_whole(answer: &[u8]) -> io::Result<bool> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(false);
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    match length {
        Some(length) if head.starts_with("http/1.1 200") => {
            let length: usize = length;
            Ok(answer.len() >= end + 4 + length)
        }
        _ => Err(io::Error::other(format!("not a page: {head}"))),
    }
}
