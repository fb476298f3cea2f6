//! One connection of the load generator.

use std::future::poll_fn;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::target::Target;
use super::wire::Wire;
use crate::measure::Histogram;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A Close with code 1000, masked.
const CLOSE: [u8; 8] = [0x88, 0x82, MASK[0], MASK[1], MASK[2], MASK[3], 0x03 ^ 0x37, 0xe8 ^ 0xfa];

/// One client's end.
pub(crate) struct Peer {
    socket: Wire,
    frames: Frames,
}

/// Messages that are sent with one write.
pub(crate) struct Burst {
    bytes: Vec<u8>,
    messages: u64,
}

/// Encodes `depth` binary messages of `size` bytes.
pub(crate) fn messages(size: usize, depth: u64) -> Burst {
    let mut message = vec![0x82];
    match size {
        0..=125 => message.push(0x80 | size as u8),
        126..=0xffff => {
            message.push(0x80 | 126);
            message.extend_from_slice(&(size as u16).to_be_bytes());
        }
        _ => {
            message.push(0x80 | 127);
            message.extend_from_slice(&(size as u64).to_be_bytes());
        }
    }
    message.extend_from_slice(&MASK);
    message.extend((0..size).map(|at| at as u8));
    Burst { bytes: message.repeat(depth as usize), messages: depth }
}

impl Peer {
    /// Connects from a source address and opens a WebSocket.
    pub(crate) async fn open(target: &Target, source: Ipv4Addr) -> io::Result<Self> {
        let mut socket = target.connect(source).await?;
        let server = target.address;
        let request = format!(
            "GET /echo HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             User-Agent: load\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await?;
        socket.flush().await?;
        let mut answer = Vec::with_capacity(512);
        let end = loop {
            if socket.read_buf(&mut answer).await? == 0 {
                return Err(io::Error::other(format!("not opened: {}", answer.escape_ascii())));
            }
            if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
        };
        if !answer.starts_with(b"HTTP/1.1 101") {
            return Err(io::Error::other(format!("refused: {}", answer.escape_ascii())));
        }
        let mut peer = Self { socket, frames: Frames::default() };
        peer.frames.take(&answer[end..]);
        Ok(peer)
    }

    /// Sends bursts, each after the echo of the previous one, until a time or up to a number;
    /// returns the number of messages echoed.
    pub(crate) async fn echo(
        &mut self,
        burst: &Burst,
        until: Instant,
        most: u64,
        latencies: &mut Histogram,
    ) -> io::Result<u64> {
        let mut buffer = vec![0; 64 * 1024];
        let (mut messages, mut bursts) = (0, 0);
        let mut sent = Instant::now();
        while bursts < most && sent < until {
            bursts += 1;
            self.send_while_receiving(&burst.bytes, &mut buffer).await?;
            let wanted = messages + burst.messages;
            while messages + self.frames.messages < wanted {
                self.read(&mut buffer).await?;
            }
            messages += std::mem::take(&mut self.frames.messages);
            let now = Instant::now();
            latencies.add(now - sent);
            sent = now;
        }
        Ok(messages)
    }

    /// Sends bursts without waiting until a time, and reads the echo; returns the number of
    /// messages sent. It does not close.
    pub(crate) async fn flood(mut self, burst: &Burst, until: Instant) -> io::Result<u64> {
        let mut buffer = vec![0; 64 * 1024];
        let mut sent = 0;
        while Instant::now() < until {
            self.send_while_receiving(&burst.bytes, &mut buffer).await?;
            sent += burst.messages;
        }
        Ok(sent)
    }

    /// Receives a number of messages.
    pub(crate) async fn receive(&mut self, count: u64) -> io::Result<()> {
        let mut buffer = vec![0; 4096];
        while self.frames.messages < count {
            self.read(&mut buffer).await?;
        }
        self.frames.messages -= count;
        Ok(())
    }

    /// Closes; returns whether the server answered with a Close and then a FIN.
    pub(crate) async fn close(mut self) -> bool {
        self.send(&CLOSE).await.is_ok() && self.until_end(false).await
    }

    /// Waits for the server's Close and answers it; returns the same as [`Peer::close`].
    pub(crate) async fn await_close(mut self) -> bool {
        self.until_end(true).await
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await?;
        self.socket.flush().await
    }

    async fn until_end(&mut self, answer: bool) -> bool {
        let mut buffer = [0; 256];
        let mut answered = !answer;
        loop {
            match self.socket.read(&mut buffer).await {
                Ok(0) => return self.frames.closed,
                Ok(read) => self.frames.take(&buffer[..read]),
                Err(_) => return false,
            }
            if self.frames.closed && !std::mem::replace(&mut answered, true) {
                // If this fails, the server records an unclean end.
                let _ = self.send(&CLOSE).await;
            }
        }
    }

    /// A server may not read before its own writes have left, so this must not wait for it.
    async fn send_while_receiving(
        &mut self,
        mut bytes: &[u8],
        buffer: &mut [u8],
    ) -> io::Result<()> {
        poll_fn(|cx| {
            while !bytes.is_empty() {
                match Pin::new(&mut self.socket).poll_write(cx, bytes)? {
                    Poll::Ready(written) => bytes = &bytes[written..],
                    Poll::Pending => ready!(self.poll_read(cx, buffer))?,
                }
            }
            Poll::Ready(Ok::<(), io::Error>(()))
        })
        .await?;
        // TLS may hold back what it has encrypted; TCP holds back nothing.
        self.socket.flush().await
    }

    /// Reads once and counts the frames in it.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<()>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
        match buffer.filled() {
            [] => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            read => {
                self.frames.take(read);
                Poll::Ready(Ok(()))
            }
        }
    }

    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        match self.socket.read(buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => self.frames.take(&buffer[..read]),
        }
        if let Some(ping) = self.frames.ping.take() {
            let mut pong = vec![0x8a, 0x80 | ping.len() as u8];
            pong.extend_from_slice(&MASK);
            pong.extend(ping.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
            self.send(&pong).await?;
        }
        Ok(())
    }
}

/// Counts the frames received, which are not masked.
#[derive(Default)]
struct Frames {
    /// The bytes of an incomplete header.
    header: [u8; 10],
    have: usize,
    /// The payload bytes still to be received.
    left: usize,
    /// The payload of a control frame in progress.
    control: Vec<u8>,
    messages: u64,
    ping: Option<Vec<u8>>,
    closed: bool,
}

impl Frames {
    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let (payload, rest) = bytes.split_at(self.left.min(bytes.len()));
                if self.header[0] & 0x08 != 0 {
                    self.control.extend_from_slice(payload);
                }
                self.left -= payload.len();
                bytes = rest;
                if self.left == 0 {
                    self.end_frame();
                }
                continue;
            }
            self.header[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            let wanted = match self.header[1] & 0x7f {
                _ if self.have < 2 => continue,
                126 => 4,
                127 => 10,
                _ => 2,
            };
            if self.have == wanted {
                self.left = match wanted {
                    2 => usize::from(self.header[1] & 0x7f),
                    _ => self.header[2..wanted]
                        .iter()
                        .fold(0, |length, byte| length << 8 | usize::from(*byte)),
                };
                if self.left == 0 {
                    self.end_frame();
                }
            }
        }
    }

    fn end_frame(&mut self) {
        self.have = 0;
        let payload = std::mem::take(&mut self.control);
        match self.header[0] & 0x0f {
            0x8 => self.closed = true,
            0x9 => self.ping = Some(payload),
            0xa => {}
            _ if self.header[0] & 0x80 != 0 => self.messages += 1,
            _ => {}
        }
    }
}
