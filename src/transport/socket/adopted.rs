//! Byte streams that were opened by the embedder.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Transport;
use crate::transport::tcp_info::{self, KernelFacts};

/// Makes a [`Transport`] of any byte stream, without access to its socket.
#[derive(Debug)]
pub struct Adopted<S>(pub S);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Transport for Adopted<S> {
    fn holds_pending(&self) -> bool {
        // It may be any TLS implementation.
        true
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Adopted<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Adopted<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

/// An upper bound on what a layer above the socket, such as TLS, adds to a small write.
const OVERHEAD: u64 = 64;

/// A byte stream with a descriptor of the TCP socket under it.
pub(crate) struct OverSocket<S, F> {
    pub(crate) stream: S,
    pub(crate) socket: F,
}

impl<S, F> Transport for OverSocket<S, F>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: AsFd + Unpin + Send + 'static,
{
    fn reset_on_drop(&mut self) {
        // It fails only on a socket that has already ended.
        let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
    }

    fn kernel(&self) -> Option<KernelFacts> {
        tcp_info::read(&self.socket)
    }

    fn overhead(&self) -> u64 {
        OVERHEAD
    }

    fn holds_pending(&self) -> bool {
        true
    }
}

impl<S: AsyncRead + Unpin, F: Unpin> AsyncRead for OverSocket<S, F> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin, F: Unpin> AsyncWrite for OverSocket<S, F> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl<S, F: AsFd> fmt::Debug for OverSocket<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OverSocket").field(&self.socket.as_fd()).finish()
    }
}
