//! A peer that speaks bytes: it does what it is told, right or wrong, and judges nothing but
//! what no peer may do (masking and lengths of what it reads).

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};

use super::frame::{Frame, LengthForm, Masking, Side, take_frame};
use super::http::{Head, answer_101, read_101, upgrade_request};
use super::wire::Wire;
use super::{A_WHILE, SOON};

/// How the other side's stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Fin,
    Reset,
    /// TLS ended without close_notify.
    Truncated,
    /// Not within the time allowed.
    Timeout,
}

/// All that still came, and how it ended.
#[derive(Debug)]
pub struct Rest {
    pub frames: Vec<Frame>,
    /// The bytes of a frame that never became whole.
    pub tail: Vec<u8>,
    pub end: End,
}

/// One end of a WebSocket over TCP. Dropping it closes TCP: FIN, or RST if input is unread.
#[derive(Debug)]
pub struct RawPeer {
    stream: Wire,
    side: Side,
    buffer: Vec<u8>,
    /// The other side's half of the opening handshake.
    pub head: Head,
}

/// Making one.
impl RawPeer {
    /// Connects and upgrades as a client.
    pub async fn connect(addr: SocketAddr, target: &str) -> Self {
        Self::connect_with(addr, target, "", &[]).await
    }

    /// Does the same, with further header fields (each with its CRLF) and with bytes that leave in
    /// the same segment as the request.
    pub async fn connect_with(addr: SocketAddr, target: &str, more: &str, glued: &[u8]) -> Self {
        let stream = timeout(SOON, TcpStream::connect(addr)).await;
        let stream = stream.expect("awaited a TCP connection").expect("connect");
        Self::upgrade(stream, target, more, glued).await
    }

    /// Upgrades a connection that this side has opened.
    pub async fn upgrade(stream: impl Into<Wire>, target: &str, more: &str, glued: &[u8]) -> Self {
        let mut stream = stream.into();
        stream.tcp().set_nodelay(true).expect("set TCP_NODELAY");
        let host = stream.tcp().peer_addr().expect("peer address").to_string();
        let request = upgrade_request(&host, target, more);
        stream.write_all(&[request.as_bytes(), glued].concat()).await.expect("send the request");
        stream.flush().await.expect("send the request");
        let mut buffer = Vec::new();
        let head = read_101(&mut stream, &mut buffer).await;
        Self { stream, side: Side::Client, buffer, head }
    }

    /// Does the same, with a receive buffer so small that a peer which does not read soon stalls
    /// the other side's writes.
    pub async fn connect_with_receive_buffer(addr: SocketAddr, target: &str, bytes: u32) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(bytes).expect("set SO_RCVBUF");
        let stream = timeout(SOON, socket.connect(addr)).await;
        let stream = stream.expect("awaited a TCP connection").expect("connect");
        Self::upgrade(stream, target, "", &[]).await
    }

    /// Accepts one connection and its upgrade as a server.
    pub async fn accept(listener: &TcpListener) -> Self {
        Self::accept_with(listener, "", &[]).await
    }

    /// Does the same, with further header fields in the 101 and with bytes directly after it.
    pub async fn accept_with(listener: &TcpListener, more: &str, glued: &[u8]) -> Self {
        let accepted = timeout(SOON, listener.accept()).await;
        let (stream, _) = accepted.expect("awaited a connection to accept").expect("accept");
        Self::answer(stream, more, glued).await
    }

    /// Answers the upgrade of a connection that was accepted.
    pub async fn answer(stream: impl Into<Wire>, more: &str, glued: &[u8]) -> Self {
        let mut stream = stream.into();
        stream.tcp().set_nodelay(true).expect("set TCP_NODELAY");
        let mut buffer = Vec::new();
        let head = answer_101(&mut stream, &mut buffer, more, glued).await;
        Self { stream, side: Side::Server, buffer, head }
    }

    /// Takes a stream whose opening handshake is over, or never was.
    pub fn over(stream: impl Into<Wire>, side: Side) -> Self {
        let stream = stream.into();
        let head = Head { start_line: String::new(), headers: Vec::new() };
        Self { stream, side, buffer: Vec::new(), head }
    }

    /// A peer on `side`, and the plain stream of the other end, without an opening handshake.
    pub async fn adopted(side: Side) -> (Self, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("local address");
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (ours, theirs) = (ours.expect("connect"), theirs.expect("accept").0);
        ours.set_nodelay(true).expect("set TCP_NODELAY");
        (Self::over(ours, side), theirs)
    }

    /// The TCP socket, also where TLS is spoken over it.
    pub fn stream(&self) -> &TcpStream {
        self.stream.tcp()
    }

    pub fn stream_mut(&mut self) -> &mut Wire {
        &mut self.stream
    }

    /// The stream, for what a raw peer does not do.
    pub fn into_stream(self) -> Wire {
        self.stream
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.stream.tcp().local_addr().expect("local address")
    }
}

/// Sending.
impl RawPeer {
    pub async fn send_raw(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let write = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        timeout(SOON, write)
            .await
            .unwrap_or_else(|_| panic!("could not send {} bytes within {SOON:?}", bytes.len()))
            .unwrap_or_else(|e| panic!("could not send {} bytes: {e}", bytes.len()));
    }

    /// Sends what it can: for what the other side may already refuse to take.
    pub async fn try_send_raw(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        let write = async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        };
        let sent = timeout(SOON, write).await;
        sent.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
    }

    pub async fn send_frame(&mut self, frame: Frame) {
        self.send_raw(frame.encode(self.side)).await;
    }

    /// Sends the frames in one segment (if they fit one).
    pub async fn send_frames(&mut self, frames: impl IntoIterator<Item = Frame>) {
        let bytes: Vec<u8> = frames.into_iter().flat_map(|f| f.encode(self.side)).collect();
        self.send_raw(bytes).await;
    }

    /// Sends the frames with FIN in the same segment (if they fit one).
    pub async fn send_frames_and_fin(&mut self, frames: impl IntoIterator<Item = Frame>) {
        socket2::SockRef::from(self.stream.tcp()).set_tcp_cork(true).expect("set TCP_CORK");
        self.send_frames(frames).await;
        self.fin().await;
    }

    pub async fn text(&mut self, text: &str) {
        self.send_frame(Frame::text(text)).await;
    }

    pub async fn binary(&mut self, payload: impl Into<Vec<u8>>) {
        self.send_frame(Frame::binary(payload)).await;
    }

    pub async fn ping(&mut self, payload: impl Into<Vec<u8>>) {
        self.send_frame(Frame::ping(payload)).await;
    }

    pub async fn pong(&mut self, payload: impl Into<Vec<u8>>) {
        self.send_frame(Frame::pong(payload)).await;
    }

    pub async fn close(&mut self, code: u16, reason: &str) {
        self.send_frame(Frame::close(code, reason)).await;
    }

    pub async fn close_empty(&mut self) {
        self.send_frame(Frame::close_empty()).await;
    }

    /// Sends a Close with this payload, whatever it is.
    pub async fn close_raw(&mut self, payload: impl Into<Vec<u8>>) {
        self.send_frame(Frame::new(super::frame::CLOSE, payload)).await;
    }

    /// Sends a frame whose length is written in `form`, legal there or not.
    pub async fn send_with_length(&mut self, frame: Frame, form: LengthForm) {
        self.send_raw(frame.encode_with_length(self.side, form)).await;
    }

    /// Sends the header of a frame that claims `length`, and nothing of its payload.
    pub async fn send_header(&mut self, frame: Frame, length: u64) {
        self.send_raw(frame.header(self.side, length, LengthForm::Minimal)).await;
    }

    /// Sends the first `bytes` bytes of a frame: 1 is inside its header.
    pub async fn send_start(&mut self, frame: Frame, bytes: usize) {
        let encoded = frame.encode(self.side);
        assert!(bytes < encoded.len(), "{bytes} bytes are the whole of {frame:?}");
        self.send_raw(&encoded[..bytes]).await;
    }

    /// Sends the header of a frame and the first `bytes` bytes of its payload.
    pub async fn send_part_of_payload(&mut self, frame: Frame, bytes: usize) {
        let header = frame.encode(self.side).len() - frame.payload.len();
        self.send_start(frame, header + bytes).await;
    }
}

/// Receiving.
impl RawPeer {
    /// Reads the next frame.
    ///
    /// # Panics
    /// If none comes in time, the stream ends, or the frame is masked as its sender may not.
    pub async fn read_frame(&mut self, within: Duration) -> Frame {
        match self.next(Instant::now() + within).await {
            Ok(frame) => frame,
            Err(end) => panic!(
                "awaited a frame for {within:?}, got {end:?} after {} bytes of it: \"{}\"",
                self.buffer.len(),
                self.buffer.escape_ascii()
            ),
        }
    }

    pub async fn expect_text(&mut self, text: &str) {
        let frame = self.read_frame(SOON).await;
        let is_it =
            frame.fin && frame.opcode == super::frame::TEXT && frame.payload == text.as_bytes();
        assert!(is_it, "awaited text {text:?}, got {frame:?}");
    }

    /// Reads the next frame, which has to be a Close; `None` for an empty one.
    pub async fn expect_close(&mut self, within: Duration) -> (Option<u16>, String) {
        self.read_frame(within).await.close_code_and_reason()
    }

    /// Waits until something has come, and keeps it for what reads frames.
    pub async fn await_bytes(&mut self) {
        let read = timeout(SOON, self.stream.read_buf(&mut self.buffer)).await;
        let read = read.unwrap_or_else(|_| panic!("awaited something for {SOON:?} in vain"));
        assert!(read.is_ok_and(|read| read > 0), "awaited something, got the end");
    }

    /// Reads until the stream ends, or until the time is up.
    pub async fn read_to_end(&mut self, within: Duration) -> Rest {
        let deadline = Instant::now() + within;
        let mut frames = Vec::new();
        loop {
            match self.next(deadline).await {
                Ok(frame) => frames.push(frame),
                Err(end) => return Rest { frames, tail: std::mem::take(&mut self.buffer), end },
            }
        }
    }

    /// Asserts that nothing but the end comes, and returns it.
    pub async fn expect_end(&mut self, within: Duration) -> End {
        let rest = self.read_to_end(within).await;
        assert!(
            rest.frames.is_empty() && rest.tail.is_empty(),
            "awaited the end of TCP and nothing before it, got {rest:?}"
        );
        rest.end
    }

    /// Asserts that nothing comes for [`A_WHILE`], the end included.
    pub async fn expect_silence(&mut self) {
        let end = self.expect_end(A_WHILE).await;
        assert_eq!(end, End::Timeout, "awaited silence");
    }

    async fn next(&mut self, deadline: Instant) -> Result<Frame, End> {
        loop {
            if let Some(frame) = take_frame(&mut self.buffer) {
                match (self.side, frame.masking) {
                    (Side::Client, Masking::Key(_)) => panic!("the server masked {frame:?}"),
                    (Side::Server, Masking::Plain) => panic!("the client did not mask {frame:?}"),
                    _ => return Ok(frame),
                }
            }
            match timeout_at(deadline, self.stream.read_buf(&mut self.buffer)).await {
                Err(_) => return Err(End::Timeout),
                Ok(Ok(0)) => return Err(End::Fin),
                Ok(Ok(_)) => {}
                Ok(Err(e)) if e.kind() == ErrorKind::ConnectionReset => return Err(End::Reset),
                Ok(Err(e)) if e.kind() == ErrorKind::UnexpectedEof => return Err(End::Truncated),
                Ok(Err(e)) => panic!("awaited a frame or the end: {e}"),
            }
        }
    }
}

/// Ending.
impl RawPeer {
    /// Sends FIN, behind close_notify where TLS is spoken, and goes on reading.
    pub async fn fin(&mut self) {
        self.stream.shutdown().await.expect("send FIN");
    }

    /// Sends RST.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(self.stream.tcp());
        socket.set_linger(Some(Duration::ZERO)).expect("set SO_LINGER to 0");
    }
}
