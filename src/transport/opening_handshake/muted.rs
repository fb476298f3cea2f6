//! The stream hyper gets: it hears the peer, but is not heard.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::protocol::classification::LossKind;

/// How much of what hyper says is listened to: `HTTP/1.1 400`.
const STATUS_LINE: usize = 12;

/// How much of what the peer began with is kept, to tell it what it mistook this port for.
const OPENING: usize = 16;

/// A stream whose writes go nowhere, and that remembers what passed.
pub(super) struct Muted<T> {
    socket: T,
    said: Vec<u8>,
    opening: Vec<u8>,
    received: u64,
    end: Option<ReadEnd>,
    /// Nothing is read before something was written.
    speaks_first: bool,
}

/// How reading ended.
#[derive(Debug, Clone)]
pub(super) enum ReadEnd {
    /// The peer's FIN was read.
    Fin,
    /// Reading failed.
    Error(LossKind),
}

/// What is left of a [`Muted`] stream.
pub(super) struct Heard<T> {
    pub(super) socket: T,
    /// The status that hyper would have answered.
    pub(super) status: Option<StatusCode>,
    /// What the peer began with.
    pub(super) opening: Vec<u8>,
    /// How many bytes came.
    pub(super) received: u64,
    /// How reading ended, if it did.
    pub(super) end: Option<ReadEnd>,
}

impl<T> Muted<T> {
    pub(super) fn new(socket: T) -> Self {
        let (said, opening) = (Vec::new(), Vec::new());
        Self { socket, said, opening, received: 0, end: None, speaks_first: false }
    }

    /// Makes a stream of which nothing is read before something was written: hyper takes an answer
    /// that is there before its question for a fault.
    ///
    /// Until then a read is pending and wakes nobody: poll once more after the write.
    pub(super) fn speaking_first(socket: T) -> Self {
        Self { speaks_first: true, ..Self::new(socket) }
    }

    pub(super) fn into_heard(self) -> Heard<T> {
        let status = self.said.get(STATUS_LINE - 3..STATUS_LINE);
        let status = status.and_then(|digits| StatusCode::from_bytes(digits).ok());
        let Self { socket, opening, received, end, .. } = self;
        Heard { socket, status, opening, received, end }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Muted<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.speaks_first && this.said.is_empty() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if let Err(error) = ready!(Pin::new(&mut this.socket).poll_read(cx, buf)) {
            this.end = Some(ReadEnd::Error(LossKind::from(&error)));
            return Poll::Ready(Err(error));
        }
        let read = &buf.filled()[before..];
        if read.is_empty() && buf.remaining() > 0 {
            this.end = Some(ReadEnd::Fin);
        }
        let missing = OPENING.saturating_sub(this.opening.len()).min(read.len());
        this.opening.extend_from_slice(&read[..missing]);
        this.received += read.len() as u64;
        Poll::Ready(Ok(()))
    }
}

impl<T: Unpin> AsyncWrite for Muted<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let said = &mut self.get_mut().said;
        let missing = STATUS_LINE.saturating_sub(said.len()).min(bytes.len());
        said.extend_from_slice(&bytes[..missing]);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
