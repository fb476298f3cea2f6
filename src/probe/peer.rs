//! One end of a WebSocket that does what it is told, right or wrong, and notes what it sees. Every wait
//! has a deadline, and memory is bounded whatever the other end sends.

use std::future::poll_fn;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout_at};

use super::frame::{BINARY, CONTINUATION, Frame, TEXT};
use super::seen::{CloseSeen, Digest, End, Event, Seen};
use crate::protocol::classification::LossKind;
use crate::protocol::frame_encoder::apply_mask;
use crate::protocol::frame_scanner::{
    ControlOpcode, DataOpcode, Found, FrameScanner, ScanLimits, Scanned,
};
use crate::transport::socket::Transport;
use crate::vocabulary::Role;

/// How much is read over one connection.
const MOST_READ: u64 = 32 * 1024 * 1024;
/// How much is read at once.
const PIECE: usize = 16 * 1024;
/// What the frames of this end are masked with: no frame in a recording looks like its payload.
const KEY: [u8; 4] = [0x5a, 0xc3, 0x96, 0x3c];

/// One end of a WebSocket.
pub(super) struct Peer {
    role: Role,
    socket: Option<Box<dyn Transport>>,
    scanner: FrameScanner,
    received: BytesMut,
    read: u64,
    most_read: u64,
    incoming: Option<Message>,
    mask: Option<[u8; 4]>,
    outgoing: Option<Message>,
    began: Instant,
    /// What was seen.
    pub(super) seen: Seen,
}

/// A message under way.
struct Message {
    text: bool,
    len: u64,
    hasher: DefaultHasher,
}

impl Message {
    fn new(text: bool) -> Self {
        Self { text, len: 0, hasher: DefaultHasher::new() }
    }

    fn add(&mut self, payload: &[u8]) {
        self.len += payload.len() as u64;
        self.hasher.write(payload);
    }

    fn digest(&self) -> Digest {
        Digest { text: self.text, len: self.len, hash: self.hasher.finish() }
    }
}

impl Peer {
    /// Makes a peer in `role` of a stream whose opening handshake is over; `received` came behind it. With
    /// `rsv`, these reserved bits belong to an extension.
    pub(super) fn new(
        role: Role,
        socket: Option<Box<dyn Transport>>,
        received: BytesMut,
        rsv: u8,
        seen: Seen,
    ) -> Self {
        let limits = ScanLimits { max_frame_size: MOST_READ, max_message_size: MOST_READ };
        let read = received.len() as u64;
        let mut peer = Self {
            role,
            socket,
            scanner: FrameScanner::new(role, limits).allow_rsv(rsv),
            received,
            read,
            most_read: MOST_READ,
            incoming: None,
            mask: None,
            outgoing: None,
            began: Instant::now(),
            seen,
        };
        peer.scan();
        peer
    }

    /// Sets how much may be read, if that is less than usual.
    pub(super) fn reading_at_most(self, bytes: u64) -> Self {
        Self { most_read: bytes.min(MOST_READ), ..self }
    }

    /// Returns how much was read.
    pub(super) fn read(&self) -> u64 {
        self.read
    }

    /// Notes an event.
    pub(super) fn note(&mut self, event: Event) {
        self.seen.add(self.began.elapsed(), event);
    }

    /// Returns whether nothing can come any more.
    pub(super) fn is_over(&self) -> bool {
        self.socket.is_none() || self.seen.end().is_some()
    }

    /// Sends frames in one piece, and reads meanwhile unless the peer is to wait. Notes it if they cannot
    /// be sent.
    pub(super) async fn send(&mut self, frames: &[Frame], deadline: Instant, reads: bool) {
        let bytes = self.encode(frames);
        self.send_bytes(&bytes, deadline, reads).await;
    }

    /// Sends the first `len` bytes of a frame.
    pub(super) async fn send_part(&mut self, frame: &Frame, len: usize, deadline: Instant) {
        let bytes = frame.encode(self.role, KEY);
        self.send_bytes(&bytes[..len.min(bytes.len())], deadline, true).await;
    }

    /// Sends frames byte by byte, each in a segment of its own.
    pub(super) async fn send_bytewise(
        &mut self,
        frames: &[Frame],
        gap: Duration,
        deadline: Instant,
    ) {
        for byte in self.encode(frames).chunks(1) {
            self.send_bytes(byte, deadline, true).await;
            self.read_until(Instant::now() + gap, |_| false).await;
        }
    }

    /// Encodes frames, and notes the messages that are whole with them as sent.
    fn encode(&mut self, frames: &[Frame]) -> Vec<u8> {
        for frame in frames.iter().filter(|frame| frame.is_whole()) {
            match frame.opcode {
                TEXT | BINARY => self.outgoing = Some(Message::new(frame.opcode == TEXT)),
                CONTINUATION => {}
                _ => continue,
            }
            let Some(message) = &mut self.outgoing else { continue };
            message.add(&frame.payload());
            if frame.fin {
                self.seen.sent.push(message.digest());
                self.outgoing = None;
            }
        }
        frames.iter().flat_map(|frame| frame.encode(self.role, KEY)).collect()
    }

    async fn send_bytes(&mut self, bytes: &[u8], deadline: Instant, reads: bool) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.is_over() {
                return self.note(Event::NotSent);
            }
            match timeout_at(deadline, self.exchange(rest, reads)).await {
                Ok(Moved::Written(Ok(written))) if written > 0 => rest = &rest[written..],
                Ok(Moved::Read(read)) => self.handle_read(read),
                // What the peer sent before it went is still to be read.
                Ok(Moved::Written(_)) | Err(_) => return self.note(Event::NotSent),
            }
        }
        let Some(socket) = &mut self.socket else { return };
        if !matches!(timeout_at(deadline, socket.flush()).await, Ok(Ok(()))) {
            self.note(Event::NotSent);
        }
    }

    /// Writes or reads once, whichever is possible first.
    async fn exchange(&mut self, bytes: &[u8], reads: bool) -> Moved {
        let received = &mut self.received;
        let Some(socket) = &mut self.socket else { return Moved::Written(Ok(0)) };
        poll_fn(|cx| {
            if let Poll::Ready(written) = Pin::new(&mut *socket).poll_write(cx, bytes) {
                return Poll::Ready(Moved::Written(written));
            }
            if !reads {
                return Poll::Pending;
            }
            poll_piece(socket, received, cx).map(Moved::Read)
        })
        .await
    }

    /// Reads until `done`, the end, or the deadline; returns whether it is done.
    pub(super) async fn read_until(
        &mut self,
        deadline: Instant,
        done: impl Fn(&Seen) -> bool,
    ) -> bool {
        loop {
            if done(&self.seen) {
                return true;
            }
            if self.is_over() {
                return false;
            }
            let Some(socket) = &mut self.socket else { return false };
            let received = &mut self.received;
            let read = poll_fn(|cx| poll_piece(socket, received, cx));
            match timeout_at(deadline, read).await {
                Ok(read) => self.handle_read(read),
                Err(_) => return done(&self.seen),
            }
        }
    }

    fn handle_read(&mut self, read: io::Result<usize>) {
        match read {
            Ok(0) => self.note(Event::End(End::Fin)),
            Ok(len) => {
                self.read += len as u64;
                self.scan();
                if self.read > self.most_read {
                    self.note(Event::Flood);
                    self.socket = None;
                }
            }
            Err(error) => self.note(Event::End(End::from(LossKind::from(&error)))),
        }
    }

    fn scan(&mut self) {
        while !self.received.is_empty() {
            let Scanned { consumed, found } = self.scanner.scan(&self.received);
            let ends_message = found.ends_message();
            match found {
                Found::Nothing => {}
                Found::Header(header) => {
                    self.mask = header.mask;
                    match header.opcode {
                        DataOpcode::Text => self.incoming = Some(Message::new(true)),
                        DataOpcode::Binary => self.incoming = Some(Message::new(false)),
                        DataOpcode::Continuation => {}
                    }
                }
                Found::Payload { offset, .. } => {
                    let payload = &mut self.received[..consumed];
                    if let Some(mut mask) = self.mask {
                        mask.rotate_left((offset % 4) as usize);
                        apply_mask(payload, mask);
                    }
                    if let Some(message) = &mut self.incoming {
                        message.add(payload);
                    }
                }
                Found::Control(frame) => self.note(match frame.opcode {
                    ControlOpcode::Close => Event::Close(CloseSeen::parse(frame.payload())),
                    ControlOpcode::Ping => Event::Ping(frame.payload().len()),
                    ControlOpcode::Pong => Event::Pong(frame.payload().to_vec()),
                }),
                Found::Violation(violation) => self.note(Event::Violation(violation.to_string())),
            }
            if ends_message && let Some(message) = self.incoming.take() {
                self.note(Event::Message(message.digest()));
            }
            self.received.advance(consumed);
        }
    }

    /// Sends FIN, behind close_notify where TLS is spoken; reading goes on.
    pub(super) async fn fin(&mut self, deadline: Instant) {
        let Some(socket) = &mut self.socket else { return };
        if !matches!(timeout_at(deadline, socket.shutdown()).await, Ok(Ok(()))) {
            self.note(Event::NotSent);
        }
    }

    /// Sends RST.
    pub(super) fn reset(&mut self) {
        if let Some(mut socket) = self.socket.take() {
            socket.reset_on_drop();
        }
    }

    /// Ends TCP.
    pub(super) fn into_seen(self) -> Seen {
        self.seen
    }
}

/// Reads once, to the end of what was received; returns how much came.
fn poll_piece(
    socket: &mut Box<dyn Transport>,
    received: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut piece = [0; PIECE];
    let mut buffer = ReadBuf::new(&mut piece);
    Pin::new(socket).poll_read(cx, &mut buffer).map_ok(|()| {
        received.extend_from_slice(buffer.filled());
        buffer.filled().len()
    })
}

/// The result of writing or reading once.
enum Moved {
    Written(io::Result<usize>),
    Read(io::Result<usize>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Peer, Peer) {
        let (left, right) = tokio::io::duplex(1 << 16);
        let peer = |role, socket: tokio::io::DuplexStream| {
            Peer::new(role, Some(Box::new(socket)), BytesMut::new(), 0, Seen::default())
        };
        (peer(Role::Client, left), peer(Role::Server, right))
    }

    #[tokio::test(start_paused = true)]
    async fn two_peers_see_what_the_other_sends() {
        let (mut client, mut server) = pair();
        let soon = Instant::now() + Duration::from_secs(1);
        let frames = [
            Frame::text("ab").unfinished(),
            Frame::ping(b"p"),
            Frame::continuation(b"c"),
            Frame::close(1000, "bye"),
        ];
        client.send(&frames, soon, true).await;
        client.fin(soon).await;
        assert!(!server.read_until(soon, |_| false).await);
        let events: Vec<_> = server.seen.events.iter().map(|(_, event)| event.clone()).collect();
        let close = CloseSeen { code: Some(1000), reason: "bye".to_owned(), well_formed: true };
        let digest = client.seen.sent[0];
        assert_eq!((digest.text, digest.len), (true, 3));
        assert_eq!(
            events,
            [Event::Ping(1), Event::Message(digest), Event::Close(close), Event::End(End::Fin)]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_ends_the_exchange_and_a_silent_peer_costs_its_time() {
        let (mut client, mut server) = pair();
        let flood = async {
            loop {
                let soon = Instant::now() + Duration::from_secs(1);
                server.send(&[Frame::binary(1 << 20)], soon, false).await;
                if server.seen.events.iter().any(|(_, event)| *event == Event::NotSent) {
                    return;
                }
            }
        };
        let far = Instant::now() + Duration::from_secs(3600);
        let read = async {
            client.read_until(far, |_| false).await;
        };
        tokio::join!(flood, read);
        assert_eq!(client.seen.events.last().unwrap().1, Event::Flood);
        assert!(client.is_over() && client.read <= MOST_READ + PIECE as u64);

        let (mut client, _server) = pair();
        let began = Instant::now();
        assert!(!client.read_until(began + Duration::from_secs(5), |_| false).await);
        assert_eq!(began.elapsed().as_secs(), 5);
    }
}
