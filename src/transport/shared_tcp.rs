//! A TCP socket that its owner reads and writes, and that others may write to without waiting.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::socket::{KernelFacts, Transport};
use super::tcp_info;

/// A TCP socket of which [`DirectWriter`]s may be had. Dropping it closes the socket.
#[derive(Debug)]
pub struct SharedTcp(Arc<TcpStream>);

/// Says what the owner's socket says already, and that no signal is wanted where the peer is gone.
const AT_ONCE: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// Writes to a socket that somebody else owns, for as long as that keeps it.
#[derive(Debug, Clone)]
pub struct DirectWriter(Weak<TcpStream>);

impl DirectWriter {
    /// Writes what the kernel takes at once, and returns how many bytes that were.
    ///
    /// None were taken also where the socket failed or is gone: its owner will see. The kernel is
    /// asked, not the runtime, whose notes on each socket are memory that nobody has touched lately.
    pub fn try_write(&self, bytes: &[u8]) -> usize {
        match self.0.upgrade() {
            Some(socket) => SockRef::from(&*socket).send_with_flags(bytes, AT_ONCE).unwrap_or(0),
            None => 0,
        }
    }
}

impl From<TcpStream> for SharedTcp {
    fn from(socket: TcpStream) -> Self {
        Self(Arc::new(socket))
    }
}

impl Transport for SharedTcp {
    fn reset_on_drop(&mut self) {
        // It fails only on a socket that has nothing left to reset.
        let _ = self.0.set_zero_linger();
    }

    fn kernel(&self) -> Option<KernelFacts> {
        tcp_info::read(&self.0)
    }

    fn direct_writer(&self) -> Option<DirectWriter> {
        Some(DirectWriter(Arc::downgrade(&self.0)))
    }
}

impl AsyncRead for SharedTcp {
    /// Reads like `TcpStream`, which needs to be owned for it: a read that does not fill the buffer
    /// has emptied the socket, so that the next one need not ask the kernel.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            let mut read = None;
            let unfilled = buf.initialize_unfilled();
            let asked = unfilled.len();
            let tried = self.0.try_io(Interest::READABLE, || {
                let len = (&*SockRef::from(&*self.0)).read(unfilled)?;
                read = Some(len);
                // Said within the attempt, this clears only the readiness that was there before it.
                if len > 0 && len < asked { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match (read, tried) {
                (Some(len), _) => {
                    buf.advance(len);
                    return Poll::Ready(Ok(()));
                }
                (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                (None, Err(error)) => return Poll::Ready(Err(error)),
                // Without an error something was read; asking again is as good as saying so.
                (None, Ok(())) => {}
            }
        }
    }
}

impl AsyncWrite for SharedTcp {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&*self.0).shutdown(std::net::Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (SharedTcp, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (ours.into(), listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn it_reads_and_writes_like_the_socket_it_is() {
        let (mut ours, mut theirs) = pair().await;
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
        let (mut echoed, mut received) = (vec![0; sent.len()], Vec::new());
        let (expected, len) = (sent.clone(), sent.len());
        let peer = tokio::spawn(async move {
            theirs.write_all(&sent).await.unwrap();
            theirs.read_exact(&mut echoed).await.unwrap();
            theirs.shutdown().await.unwrap();
            echoed
        });
        let mut buffer = vec![0; 65_536];
        while received.len() < len {
            let read = ours.read(&mut buffer).await.unwrap();
            received.extend_from_slice(&buffer[..read]);
        }
        ours.write_all(&received).await.unwrap();
        assert_eq!(ours.read(&mut buffer).await.unwrap(), 0, "the peer's FIN");
        assert!(peer.await.unwrap() == expected && received == expected);
    }

    #[tokio::test]
    async fn no_byte_is_overlooked_when_it_comes_between_two_reads() {
        let (mut ours, mut theirs) = pair().await;
        for n in 0..2_000_u32 {
            theirs.write_all(&n.to_be_bytes()).await.unwrap();
            let mut number = [0; 4];
            ours.read_exact(&mut number).await.unwrap();
            assert_eq!(u32::from_be_bytes(number), n);
        }
    }

    #[tokio::test]
    async fn a_direct_writer_writes_and_does_not_keep_the_socket() {
        let (ours, mut theirs) = pair().await;
        let writer = ours.direct_writer().unwrap();
        tokio::task::yield_now().await;
        while writer.try_write(b"hello") == 0 {
            tokio::task::yield_now().await;
        }
        let mut buffer = [0; 5];
        theirs.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"hello");
        drop(ours);
        assert_eq!(theirs.read(&mut buffer).await.unwrap(), 0);
        assert_eq!(writer.try_write(b"late"), 0);
    }
}
