//! The byte stream under a connection, and its operations besides reading and writing.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};

use super::direct_writer::DirectWriter;
use super::shared_tcp::SharedTcp;
use super::tcp_info::{self, KernelFacts, TcpState};
use crate::protocol::classification::LossKind;

mod adopted;

pub use adopted::Adopted;
pub(crate) use adopted::OverSocket;

/// A byte stream that can carry a connection.
///
/// Implemented for sockets, for in-memory pipes, and through [`Adopted`] for anything else.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Makes dropping it send RST (`SO_LINGER` 0) instead of FIN. Does nothing without TCP.
    fn reset_on_drop(&mut self) {}

    /// Returns the kernel's view of it; `None` without TCP.
    fn kernel(&self) -> Option<KernelFacts> {
        None
    }

    /// Returns how the peer has ended its half, if that is visible while bytes before the end are
    /// unread.
    fn unread_loss(&self) -> Option<LossKind> {
        None
    }

    /// Returns the pending error of the socket (`SO_ERROR`), which the kernel reports only once.
    fn take_error(&self) -> Option<io::Error> {
        None
    }

    /// Returns a writer for other tasks than its owner, if it supports one.
    fn direct_writer(&self) -> Option<DirectWriter> {
        None
    }

    /// Returns how many bytes a layer such as TLS adds to a small write.
    fn overhead(&self) -> u64 {
        0
    }

    /// Returns whether a pending write may have consumed bytes, so that the next write must repeat them.
    ///
    /// `AsyncWrite` forbids that, and our transports comply, but wrappers of OpenSSL do not: it has
    /// encrypted what it could not send, and must be called with the same bytes again.
    fn holds_pending(&self) -> bool {
        false
    }
}

impl Transport for TcpStream {
    fn reset_on_drop(&mut self) {
        // It fails only on a socket that has already ended.
        let _ = self.set_zero_linger();
    }

    fn kernel(&self) -> Option<KernelFacts> {
        tcp_info::read(self)
    }

    fn unread_loss(&self) -> Option<LossKind> {
        if !is_read_closed(self.ready(Interest::READABLE)) {
            return None;
        }
        match self.kernel()?.state {
            TcpState::Closed => Some(LossKind::Reset),
            TcpState::Established
            | TcpState::FinSent
            | TcpState::CloseWait
            | TcpState::BothFins
            | TcpState::Other(_) => Some(LossKind::Fin),
        }
    }

    fn take_error(&self) -> Option<io::Error> {
        Self::take_error(self).ok().flatten()
    }
}

impl Transport for SharedTcp {
    fn reset_on_drop(&mut self) {
        // It fails only on a socket that has nothing left to reset.
        let _ = self.socket().set_zero_linger();
    }

    fn kernel(&self) -> Option<KernelFacts> {
        tcp_info::read(self.socket())
    }

    fn take_error(&self) -> Option<io::Error> {
        self.error()
    }

    fn unread_loss(&self) -> Option<LossKind> {
        self.socket().unread_loss()
    }

    fn direct_writer(&self) -> Option<DirectWriter> {
        Some(self.writer())
    }
}

impl Transport for UnixStream {
    fn unread_loss(&self) -> Option<LossKind> {
        is_read_closed(self.ready(Interest::READABLE)).then_some(LossKind::Fin)
    }
}

/// Returns whether the runtime has seen the end of the peer's half, which it does even with unread
/// bytes. Those make the socket ready at once.
fn is_read_closed(ready: impl Future<Output = io::Result<Ready>>) -> bool {
    let ready = ready.now_or_never();
    ready.is_some_and(|ready| ready.is_ok_and(Ready::is_read_closed))
}

impl Transport for DuplexStream {}

impl Transport for Box<dyn Transport> {
    fn reset_on_drop(&mut self) {
        (**self).reset_on_drop();
    }

    fn kernel(&self) -> Option<KernelFacts> {
        (**self).kernel()
    }

    fn unread_loss(&self) -> Option<LossKind> {
        (**self).unread_loss()
    }

    fn take_error(&self) -> Option<io::Error> {
        (**self).take_error()
    }

    fn direct_writer(&self) -> Option<DirectWriter> {
        (**self).direct_writer()
    }

    fn overhead(&self) -> u64 {
        (**self).overhead()
    }

    fn holds_pending(&self) -> bool {
        (**self).holds_pending()
    }
}

/// Replaces a transport that was dropped: reads return EOF, and writes fail.
#[derive(Debug)]
pub(crate) struct Closed;

impl Transport for Closed {}

impl AsyncRead for Closed {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Closed {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The address of one end of a socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SocketName {
    /// An address and a port. An IPv4 peer of an IPv6 listener is shown as IPv4.
    Tcp(SocketAddr),
    /// An address whose port is unknown: a client that a proxy in front has named.
    Ip(IpAddr),
    /// A path; the connecting end of a Unix socket usually has none.
    Unix(Option<PathBuf>),
}

impl SocketName {
    pub(crate) fn tcp(addr: SocketAddr) -> Self {
        Self::Tcp(SocketAddr::new(addr.ip().to_canonical(), addr.port()))
    }

    pub(super) fn unix(addr: &tokio::net::unix::SocketAddr) -> Self {
        Self::Unix(addr.as_pathname().map(PathBuf::from))
    }

    /// Returns the IP address, for limits and rates by address.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(addr) => Some(addr.ip()),
            Self::Ip(ip) => Some(*ip),
            Self::Unix(_) => None,
        }
    }
}

/// Writes `203.0.113.9:51342`, `203.0.113.9`, `[2001:db8::9]`, `unix:/run/x.sock`, or `unix:` without
/// a path.
impl fmt::Display for SocketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => write!(f, "{addr}"),
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Unix(Some(path)) => write!(f, "unix:{}", path.display()),
            Self::Unix(None) => f.write_str("unix:"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn an_ipv4_peer_of_an_ipv6_listener_is_shown_as_ipv4() {
        let mapped = "[::ffff:203.0.113.9]:51342".parse().unwrap();
        assert_eq!(SocketName::tcp(mapped).to_string(), "203.0.113.9:51342");
        for written in ["0.10.99.100:0", "255.255.255.255:65535", "[2001:db8::1]:80"] {
            assert_eq!(SocketName::tcp(written.parse().unwrap()).to_string(), written);
        }
    }

    #[tokio::test]
    async fn reset_on_drop_resets() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut theirs, _) = listener.accept().await.unwrap();
        ours.reset_on_drop();
        drop(ours);
        let error = theirs.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_boxed_and_an_adopted_stream_carry_bytes() {
        let (ours, theirs) = tokio::io::duplex(64);
        let mut boxed: Box<dyn Transport> = Box::new(Adopted(ours));
        let mut theirs: Box<dyn Transport> = Box::new(theirs);
        boxed.write_all(b"hello").await.unwrap();
        boxed.shutdown().await.unwrap();
        let mut read = String::new();
        theirs.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "hello");
        assert_eq!(boxed.kernel(), None);
    }
}
