//! A client's stream as hyper reads it: one request at a time, and only requests that are forwarded.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::session::ClientSession;
use crate::protocol::request_framing::{ChunkedBody, Framing, Head, Malformed};
use crate::transport::socket::Transport;

/// How many bytes are read ahead while an answer is under way, and at a time of a chunked body.
const READ_AHEAD: usize = 16 * 1024;

/// How many bytes are read at a time of a head.
const HEAD: usize = 4 * 1024;

/// A client's stream.
pub(super) struct ClientStream<T, F> {
    socket: T,
    /// Bytes that were read, and that hyper has not read yet.
    ahead: BytesMut,
    position: Position,
    /// Everything that hyper wrote of the last answer was handed to the kernel.
    flushed: bool,
    /// The client has sent FIN.
    client_ended: bool,
    /// Interim answers that are being written.
    interim: Bytes,
    session: Arc<ClientSession>,
    /// Returns whether a request is forwarded.
    accepts: F,
}

/// The position of hyper within the requests.
enum Position {
    /// Before a request.
    Between,
    /// In a head that was read whole, with this many bytes left.
    Head(usize, Framing),
    /// In a body with this many bytes left.
    Length(u64),
    Chunked(ChunkedBody),
    /// In a malformed chunked body.
    Malformed(Malformed),
    /// Before a request that is not forwarded.
    HandedBack,
}

impl Position {
    /// Returns the position in a body with this many bytes left.
    fn in_body(left: u64) -> Self {
        if left == 0 { Self::Between } else { Self::Length(left) }
    }
}

/// The remains of a client's stream.
pub(super) enum Rest<T> {
    /// The next request is not forwarded: its bytes that were read.
    HandedBack(T, Bytes),
    /// The client may still read.
    Open(T),
    /// The client has sent FIN.
    ClientEnded(T),
}

impl<T, F> ClientStream<T, F> {
    pub(super) fn new(socket: T, read: Bytes, session: Arc<ClientSession>, accepts: F) -> Self {
        let ahead = BytesMut::from(read);
        let (position, interim) = (Position::Between, Bytes::new());
        Self {
            socket,
            ahead,
            position,
            flushed: true,
            client_ended: false,
            interim,
            session,
            accepts,
        }
    }

    pub(super) fn into_rest(self) -> Rest<T> {
        match self.position {
            Position::HandedBack => Rest::HandedBack(self.socket, self.ahead.freeze()),
            _ if self.client_ended => Rest::ClientEnded(self.socket),
            _ => Rest::Open(self.socket),
        }
    }
}

impl<T: Transport, F: Fn(&Head<'_>) -> bool> ClientStream<T, F> {
    /// Reads more; `false` after the client's FIN.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.client_ended {
            return Poll::Ready(Ok(false));
        }
        self.ahead.reserve(match self.position {
            Position::Chunked(_) => READ_AHEAD,
            _ => HEAD,
        });
        match ready!(pin!(self.socket.read_buf(&mut self.ahead)).poll(cx))? {
            0 => Poll::Ready(Ok(self.end())),
            _ => {
                self.session.touch();
                Poll::Ready(Ok(true))
            }
        }
    }

    fn end(&mut self) -> bool {
        self.client_ended = true;
        self.session.set_client_ended();
        false
    }

    /// Reads a body directly into hyper's buffer, and nothing beyond it.
    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        left: u64,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut (&mut self.socket).take(left)).poll_read(cx, buf))?;
        match (buf.filled().len() - before) as u64 {
            0 => {
                self.end();
            }
            read => {
                self.session.touch();
                self.position = Position::in_body(left - read);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads ahead while an answer is under way, which notices a client that is gone. FIN is not passed
    /// to hyper yet, because the client may still read, and hyper would close the connection.
    fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ahead.len() < READ_AHEAD && !self.client_ended {
            ready!(self.poll_fill(cx))?;
        }
        Poll::Pending
    }

    /// Sees to it that the task is polled once the next request is there: hyper, which has read none
    /// of it while it answered, does not ask by itself.
    fn listen_for_next(&mut self, cx: &mut Context<'_>) {
        let is_between = matches!(self.position, Position::Between);
        if is_between && self.ahead.is_empty() && self.poll_fill(cx).is_pending() {
            self.session.set_idle(true);
            return;
        }
        cx.waker().wake_by_ref();
    }

    /// Waits for a request that is forwarded; `false` if there is none.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.ahead.is_empty() {
            self.session.set_idle(true);
            if !ready!(self.poll_fill(cx))? {
                return Poll::Ready(Ok(false));
            }
            self.session.set_idle(false);
        }
        match Head::read(&self.ahead) {
            Ok(Some(head)) if (self.accepts)(&head) => {
                self.position = Position::Head(head.len, head.framing);
                self.flushed = false;
                self.session.begin();
                Poll::Ready(Ok(true))
            }
            // An incomplete head is handed back to the caller, which has the deadline for it.
            Ok(_) | Err(_) => {
                self.position = Position::HandedBack;
                Poll::Ready(Ok(false))
            }
        }
    }

    /// Copies bytes that were read ahead to hyper, up to the end of a request.
    fn copy_ahead(&mut self, buf: &mut ReadBuf<'_>) {
        while !self.ahead.is_empty() && buf.remaining() > 0 {
            let room = self.ahead.len().min(buf.remaining());
            let len = match &mut self.position {
                Position::Between | Position::HandedBack | Position::Malformed(_) => return,
                Position::Head(left, framing) => {
                    let len = room.min(*left);
                    *left -= len;
                    if *left == 0 {
                        self.position = match framing {
                            Framing::None => Position::Between,
                            Framing::Length(length) => Position::Length(*length),
                            Framing::Chunked => Position::Chunked(ChunkedBody::default()),
                        };
                    }
                    len
                }
                Position::Length(left) => {
                    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(room);
                    self.position = Position::in_body(*left - len as u64);
                    len
                }
                Position::Chunked(body) => {
                    let passed = body.advance(&self.ahead[..room]);
                    let is_over = body.is_end();
                    match passed {
                        Ok(len) => {
                            if is_over {
                                self.position = Position::Between;
                            }
                            len
                        }
                        // hyper reads what was copied before, and then the error.
                        Err(malformed) => {
                            self.position = Position::Malformed(malformed);
                            return;
                        }
                    }
                }
            };
            buf.put_slice(&self.ahead[..len]);
            self.ahead.advance(len);
        }
    }

    /// Writes interim answers.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.interim.is_empty() {
                match self.session.take_interim() {
                    Some(interim) => self.interim = interim.into(),
                    None => return Poll::Ready(Ok(())),
                }
            }
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.interim))?;
            self.interim.advance(written);
        }
    }
}

impl<T: Transport, F: Fn(&Head<'_>) -> bool + Unpin> AsyncRead for ClientStream<T, F> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.position {
            Position::Between if this.session.is_answering() || !this.flushed => {
                return this.poll_watch(cx);
            }
            Position::Between => {
                if !ready!(this.poll_next(cx))? {
                    return Poll::Ready(Ok(()));
                }
            }
            Position::HandedBack => return Poll::Ready(Ok(())),
            Position::Length(left) if this.ahead.is_empty() => {
                return this.poll_body(cx, buf, left);
            }
            Position::Head(..)
            | Position::Length(_)
            | Position::Chunked(_)
            | Position::Malformed(_) => {}
        }
        if this.ahead.is_empty() && !ready!(this.poll_fill(cx))? {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        this.copy_ahead(buf);
        match this.position {
            Position::Malformed(malformed) if buf.filled().len() == before => {
                this.session.set_malformed();
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, malformed)))
            }
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl<T: Transport, F: Fn(&Head<'_>) -> bool + Unpin> AsyncWrite for ClientStream<T, F> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_interim(cx))?;
        let written = ready!(Pin::new(&mut this.socket).poll_write(cx, bytes))?;
        this.session.touch();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_interim(cx))?;
        let written = ready!(Pin::new(&mut this.socket).poll_write_vectored(cx, slices))?;
        this.session.touch();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    /// hyper flushes once it has written everything.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_interim(cx))?;
        ready!(Pin::new(&mut this.socket).poll_flush(cx))?;
        let flushed = !this.session.is_answering();
        if flushed && !std::mem::replace(&mut this.flushed, flushed) {
            this.listen_for_next(cx);
        }
        Poll::Ready(Ok(()))
    }

    /// The caller that gets the socket back closes it.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
