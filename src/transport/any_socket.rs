//! A socket as a listener accepts it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::shared_tcp::SharedTcp;
use super::socket::{SocketName, Transport};
use super::tcp_info::KernelFacts;
#[cfg(feature = "tls")]
use super::tls::TlsSocket;
use crate::protocol::classification::LossKind;

/// A socket accepted by a listener.
#[derive(Debug)]
pub enum AnySocket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix stream socket.
    Unix(UnixStream),
    /// TCP with TLS.
    #[cfg(feature = "tls")]
    Tls(TlsSocket),
}

impl AnySocket {
    /// Returns this end's address.
    pub fn local_addr(&self) -> Option<SocketName> {
        match self {
            Self::Tcp(socket) => socket.local_addr().ok().map(SocketName::tcp),
            Self::Unix(socket) => socket.local_addr().ok().map(|addr| SocketName::unix(&addr)),
            #[cfg(feature = "tls")]
            Self::Tls(socket) => socket.local_addr().ok().map(SocketName::tcp),
        }
    }

    /// Writes a short answer that fits into the buffer of the socket; if it does not, the peer goes
    /// without.
    pub fn answer_at_once(&self, answer: &[u8]) {
        match self {
            Self::Tcp(socket) => drop(socket.try_write(answer)),
            Self::Unix(socket) => drop(socket.try_write(answer)),
            #[cfg(feature = "tls")]
            Self::Tls(socket) => socket.answer_at_once(answer),
        }
    }

    /// Makes one of a socket with TLS.
    #[cfg(feature = "tls")]
    pub fn of_tls(socket: TlsSocket) -> Self {
        Self::Tls(socket)
    }

    /// Makes one of a socket with TLS, of which there is none.
    #[cfg(not(feature = "tls"))]
    pub fn of_tls(socket: super::tls::TlsSocket) -> Self {
        match socket {}
    }

    /// Makes a transport of it, which for TCP has a [`DirectWriter`].
    ///
    /// [`DirectWriter`]: super::direct_writer::DirectWriter
    pub fn into_transport(self) -> Box<dyn Transport> {
        match self {
            Self::Tcp(socket) => Box::new(SharedTcp::from(socket)),
            Self::Unix(socket) => Box::new(socket),
            #[cfg(feature = "tls")]
            Self::Tls(socket) => Box::new(socket),
        }
    }
}

impl Transport for AnySocket {
    fn reset_on_drop(&mut self) {
        match self {
            Self::Tcp(socket) => socket.reset_on_drop(),
            Self::Unix(socket) => socket.reset_on_drop(),
            #[cfg(feature = "tls")]
            Self::Tls(socket) => socket.reset_on_drop(),
        }
    }

    fn kernel(&self) -> Option<KernelFacts> {
        match self {
            Self::Tcp(socket) => socket.kernel(),
            Self::Unix(socket) => socket.kernel(),
            #[cfg(feature = "tls")]
            Self::Tls(socket) => socket.kernel(),
        }
    }

    fn unread_loss(&self) -> Option<LossKind> {
        match self {
            Self::Tcp(socket) => socket.unread_loss(),
            Self::Unix(socket) => socket.unread_loss(),
            #[cfg(feature = "tls")]
            Self::Tls(socket) => socket.unread_loss(),
        }
    }

    fn take_error(&self) -> Option<io::Error> {
        match self {
            Self::Tcp(socket) => Transport::take_error(socket),
            Self::Unix(socket) => Transport::take_error(socket),
            #[cfg(feature = "tls")]
            Self::Tls(socket) => Transport::take_error(socket),
        }
    }
}

macro_rules! forward {
    ($this:ident.$method:ident($($argument:ident),*)) => {
        match $this.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).$method($($argument),*),
            Self::Unix(socket) => Pin::new(socket).$method($($argument),*),
            #[cfg(feature = "tls")]
            Self::Tls(socket) => Pin::new(socket).$method($($argument),*),
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
