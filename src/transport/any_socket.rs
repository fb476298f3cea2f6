//! A socket as a listener accepts it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::shared_tcp::SharedTcp;
use super::socket::{SocketName, Transport};
use super::tcp_info::KernelFacts;
use crate::protocol::classification::LossKind;

/// A socket accepted by a listener.
#[derive(Debug)]
pub enum AnySocket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix stream socket.
    Unix(UnixStream),
}

impl AnySocket {
    /// Returns this end's address.
    pub fn local_addr(&self) -> Option<SocketName> {
        match self {
            Self::Tcp(socket) => socket.local_addr().ok().map(SocketName::tcp),
            Self::Unix(socket) => socket.local_addr().ok().map(|addr| SocketName::unix(&addr)),
        }
    }

    /// Makes a transport of it, which for TCP has a [`DirectWriter`].
    pub fn into_transport(self) -> Box<dyn Transport> {
        match self {
            Self::Tcp(socket) => Box::new(SharedTcp::from(socket)),
            Self::Unix(socket) => Box::new(socket),
        }
    }
}

impl Transport for AnySocket {
    fn reset_on_drop(&mut self) {
        match self {
            Self::Tcp(socket) => socket.reset_on_drop(),
            Self::Unix(socket) => socket.reset_on_drop(),
        }
    }

    fn kernel(&self) -> Option<KernelFacts> {
        match self {
            Self::Tcp(socket) => socket.kernel(),
            Self::Unix(socket) => socket.kernel(),
        }
    }

    fn unread_loss(&self) -> Option<LossKind> {
        match self {
            Self::Tcp(socket) => socket.unread_loss(),
            Self::Unix(socket) => socket.unread_loss(),
        }
    }

    fn take_error(&self) -> Option<io::Error> {
        match self {
            Self::Tcp(socket) => Transport::take_error(socket),
            Self::Unix(socket) => Transport::take_error(socket),
        }
    }
}

macro_rules! forward {
    ($this:ident.$method:ident($($argument:ident),*)) => {
        match $this.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).$method($($argument),*),
            Self::Unix(socket) => Pin::new(socket).$method($($argument),*),
        }
    };
}

impl AsyncRead for AnySocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        forward!(self.poll_read(cx, buf))
    }
}

impl AsyncWrite for AnySocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        forward!(self.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        forward!(self.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self.poll_shutdown(cx))
    }
}
