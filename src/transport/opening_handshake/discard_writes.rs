//! A stream for hyper that reads from the peer and discards what hyper writes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::protocol::classification::LossKind;

/// How much of what hyper writes is kept: `HTTP/1.1 400`.
const STATUS_LINE: usize = 12;

/// How many of the peer's first bytes are kept, to recognise other protocols on this port.
const FIRST_BYTES: usize = 16;

/// A stream that discards writes, and records what was read and written first.
pub(super) struct DiscardWrites<T> {
    socket: T,
    written: Vec<u8>,
    first_bytes: Vec<u8>,
    received: u64,
    end: Option<ReadEnd>,
    /// Whether reads wait for the first write.
    write_first: bool,
    /// The task whose read waits for it.
    reader: Option<Waker>,
}

/// How reading ended.
#[derive(Debug, Clone)]
pub(super) enum ReadEnd {
    /// The peer's FIN was read.
    Fin,
    /// Reading failed.
    Error(LossKind),
}

/// The parts of a [`DiscardWrites`] stream.
pub(super) struct Parts<T> {
    pub(super) socket: T,
    /// The status that hyper would have sent.
    pub(super) status: Option<StatusCode>,
    /// The first bytes from the peer.
    pub(super) first_bytes: Vec<u8>,
    /// How many bytes were read.
    pub(super) received: u64,
    /// How reading ended, if it has.
    pub(super) end: Option<ReadEnd>,
}

impl<T> DiscardWrites<T> {
    pub(super) fn new(socket: T) -> Self {
        let (written, first_bytes) = (Vec::new(), Vec::new());
        let (end, write_first, reader) = (None, false, None);
        Self { socket, written, first_bytes, received: 0, end, write_first, reader }
    }

    /// Makes a stream that is read only after the first write, because hyper treats a response that
    /// arrives before its request as an error. The write wakes a read that waits for it.
    pub(super) fn write_first(socket: T) -> Self {
        Self { write_first: true, ..Self::new(socket) }
    }

    pub(super) fn into_parts(self) -> Parts<T> {
        let status = self.written.get(STATUS_LINE - 3..STATUS_LINE);
        let status = status.and_then(|digits| StatusCode::from_bytes(digits).ok());
        let Self { socket, first_bytes, received, end, .. } = self;
        Parts { socket, status, first_bytes, received, end }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for DiscardWrites<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.write_first && this.written.is_empty() {
            this.reader = Some(cx.waker().clone());
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
        let missing = FIRST_BYTES.saturating_sub(this.first_bytes.len()).min(read.len());
        this.first_bytes.extend_from_slice(&read[..missing]);
        this.received += read.len() as u64;
        Poll::Ready(Ok(()))
    }
}

impl<T: Unpin> AsyncWrite for DiscardWrites<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { written, reader, .. } = self.get_mut();
        let missing = STATUS_LINE.saturating_sub(written.len()).min(bytes.len());
        written.extend_from_slice(&bytes[..missing]);
        if let Some(reader) = reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
