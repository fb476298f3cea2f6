//! A client's stream, as hyper gets to read it: one request at a time, and only those that are passed
//! on.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::turn::Turn;
use crate::protocol::request_framing::{ChunkedBody, Framing, Head, Malformed};
use crate::transport::socket::Transport;

/// How much is read ahead of hyper while an answer is under way, and at once of a body in chunks.
const AHEAD: usize = 16 * 1024;

/// What a head takes, as a rule.
const HEAD: usize = 4 * 1024;

/// A client's stream.
pub(super) struct ClientStream<T, F> {
    socket: T,
    /// What was read and hyper has not.
    ahead: BytesMut,
    place: Place,
    /// Everything that hyper wrote of the last answer is with the kernel.
    flushed: bool,
    /// The client has ended its side.
    client_ended: bool,
    /// Interim answers that are being written.
    interim: Bytes,
    turn: Arc<Turn>,
    /// Whether a request is passed on.
    takes: F,
}

/// Where in the requests hyper is.
enum Place {
    /// Before a request.
    Between,
    /// In a head that is here whole, with so many bytes left.
    Head(usize, Framing),
    /// In a body with so many bytes left.
    Length(u64),
    Chunked(ChunkedBody),
    /// In a body that breaks off for this reason.
    Malformed(Malformed),
    /// Before a request that is not passed on.
    NotOurs,
}

impl Place {
    /// Returns the place where a body has so many bytes left.
    fn behind(left: u64) -> Self {
        if left == 0 { Self::Between } else { Self::Length(left) }
    }
}

/// What is left of a client's stream.
pub(super) enum Rest<T> {
    /// It waits to be heard: what was read of what is not passed on.
    NotOurs(T, Bytes),
    /// The client may yet read.
    Here(T),
    /// The client has ended its side.
    Gone(T),
}

impl<T, F> ClientStream<T, F> {
    pub(super) fn new(socket: T, read: Bytes, turn: Arc<Turn>, takes: F) -> Self {
        let ahead = BytesMut::from(read);
        let (place, interim) = (Place::Between, Bytes::new());
        Self { socket, ahead, place, flushed: true, client_ended: false, interim, turn, takes }
    }

    pub(super) fn into_rest(self) -> Rest<T> {
        match self.place {
            Place::NotOurs => Rest::NotOurs(self.socket, self.ahead.freeze()),
            _ if self.client_ended => Rest::Gone(self.socket),
            _ => Rest::Here(self.socket),
        }
    }
}

impl<T: Transport, F: Fn(&Head<'_>) -> bool> ClientStream<T, F> {
    /// Reads more; `false` at the client's end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.client_ended {
            return Poll::Ready(Ok(false));
        }
        self.ahead.reserve(match self.place {
            Place::Chunked(_) => AHEAD,
            _ => HEAD,
        });
        match ready!(pin!(self.socket.read_buf(&mut self.ahead)).poll(cx))? {
            0 => Poll::Ready(Ok(self.end())),
            _ => {
                self.turn.note();
                Poll::Ready(Ok(true))
            }
        }
    }

    fn end(&mut self) -> bool {
        self.client_ended = true;
        self.turn.set_client_ended();
        false
    }

    /// Reads so much of a body, and nothing that follows it, right into hyper's buffer.
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
                self.turn.note();
                self.place = Place::behind(left - read);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// While an answer is under way: sees a client that is gone, and holds what else it sends. One that
    /// has ended its side may yet read, and hyper would take its end for the end.
    fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ahead.len() < AHEAD && !self.client_ended {
            ready!(self.poll_fill(cx))?;
        }
        Poll::Pending
    }

    /// Waits for a request that is passed on; `false` if there is none to come.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.ahead.is_empty() {
            self.turn.set_waiting(true);
            if !ready!(self.poll_fill(cx))? {
                return Poll::Ready(Ok(false));
            }
            self.turn.set_waiting(false);
        }
        match Head::read(&self.ahead) {
            Ok(Some(head)) if (self.takes)(&head) => {
                self.place = Place::Head(head.len, head.framing);
                self.flushed = false;
                self.turn.begin();
                Poll::Ready(Ok(true))
            }
            // One that is not whole is read by whoever has the deadline for that.
            Ok(_) | Err(_) => {
                self.place = Place::NotOurs;
                Poll::Ready(Ok(false))
            }
        }
    }

    /// Hands over what was read ahead, up to the end of a request.
    fn hand_over(&mut self, buf: &mut ReadBuf<'_>) {
        while !self.ahead.is_empty() && buf.remaining() > 0 {
            let room = self.ahead.len().min(buf.remaining());
            let len = match &mut self.place {
                Place::Between | Place::NotOurs | Place::Malformed(_) => return,
                Place::Head(left, framing) => {
                    let len = room.min(*left);
                    *left -= len;
                    if *left == 0 {
                        self.place = match framing {
                            Framing::None => Place::Between,
                            Framing::Length(length) => Place::Length(*length),
                            Framing::Chunked => Place::Chunked(ChunkedBody::default()),
                        };
                    }
                    len
                }
                Place::Length(left) => {
                    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(room);
                    self.place = Place::behind(*left - len as u64);
                    len
                }
                Place::Chunked(body) => {
                    let passed = body.advance(&self.ahead[..room]);
                    let is_over = body.is_end();
                    match passed {
                        Ok(len) => {
                            if is_over {
                                self.place = Place::Between;
                            }
                            len
                        }
                        // What was handed over before is heard first.
                        Err(malformed) => {
                            self.place = Place::Malformed(malformed);
                            return;
                        }
                    }
                }
            };
            buf.put_slice(&self.ahead[..len]);
            self.ahead.advance(len);
        }
    }

    /// Writes what is told before the answer.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.interim.is_empty() {
                match self.turn.take_interim() {
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
        match this.place {
            Place::Between if this.turn.is_answering() || !this.flushed => {
                return this.poll_watch(cx);
            }
            Place::Between => {
                if !ready!(this.poll_next(cx))? {
                    return Poll::Ready(Ok(()));
                }
            }
            Place::NotOurs => return Poll::Ready(Ok(())),
            Place::Length(left) if this.ahead.is_empty() => return this.poll_body(cx, buf, left),
            Place::Head(..) | Place::Length(_) | Place::Chunked(_) | Place::Malformed(_) => {}
        }
        if this.ahead.is_empty() && !ready!(this.poll_fill(cx))? {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        this.hand_over(buf);
        match this.place {
            Place::Malformed(malformed) if buf.filled().len() == before => {
                this.turn.set_malformed();
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
        this.turn.note();
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
        this.turn.note();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    /// hyper asks for this once it has written all that it holds.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_interim(cx))?;
        ready!(Pin::new(&mut this.socket).poll_flush(cx))?;
        this.flushed = !this.turn.is_answering();
        Poll::Ready(Ok(()))
    }

    /// Whoever gets the socket back ends it.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
