//! A TCP socket that its owner reads and writes, and that other tasks may write to without waiting.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::direct_writer::{DirectWriter, WriteAtOnce, Written};

/// A TCP socket that hands out [`DirectWriter`]s. Dropping it closes the socket.
#[derive(Debug)]
pub struct SharedTcp(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    socket: TcpStream,
    /// The error that the socket failed with, or 0. The kernel reports it once, to the first read or
    /// write; later reads return EOF, and later writes EPIPE.
    failed: AtomicI32,
}

/// Never block, and return EPIPE instead of raising SIGPIPE.
const AT_ONCE: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// This bypasses the runtime's readiness, whose memory for each socket is rarely in the cache.
impl WriteAtOnce for Shared {
    fn write_at_once(&self, bytes: &[u8]) -> Written {
        Written { taken: self.send_at_once(bytes).unwrap_or(0), held_back: false }
    }
}

impl Shared {
    /// Writes what the kernel takes at once, without registering a waker.
    fn send_at_once(&self, bytes: &[u8]) -> io::Result<usize> {
        SockRef::from(&self.socket)
            .send_with_flags(bytes, AT_ONCE)
            .map_err(|error| self.failed_with(error))
    }

    /// Records an error, and returns the first that the kernel reported.
    #[cold]
    fn failed_with(&self, error: io::Error) -> io::Error {
        match error.raw_os_error() {
            None | Some(libc::EAGAIN | libc::EINTR) => error,
            Some(errno) => {
                let first =
                    self.failed.compare_exchange(0, errno, Ordering::AcqRel, Ordering::Acquire);
                io::Error::from_raw_os_error(first.err().unwrap_or(errno))
            }
        }
    }

    /// Returns the result of a read at the end of the stream: the error reported before, if it was not
    /// EPIPE, which only follows the peer's FIN.
    #[cold]
    fn end(&self) -> io::Result<()> {
        match self.failed.load(Ordering::Acquire) {
            0 | libc::EPIPE => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

impl From<TcpStream> for SharedTcp {
    fn from(socket: TcpStream) -> Self {
        Self(Arc::new(Shared { socket, failed: AtomicI32::new(0) }))
    }
}

impl SharedTcp {
    /// Returns the socket.
    pub(super) fn socket(&self) -> &TcpStream {
        &self.0.socket
    }

    /// Returns the error that the socket failed with.
    pub(super) fn error(&self) -> Option<io::Error> {
        let told = self.0.socket.take_error().ok().flatten();
        match (told, self.0.failed.load(Ordering::Acquire)) {
            (Some(error), _) => Some(self.0.failed_with(error)),
            (None, 0) => None,
            (None, errno) => Some(io::Error::from_raw_os_error(errno)),
        }
    }

    /// Returns a way to write beside its owner.
    pub(super) fn writer(&self) -> DirectWriter {
        let shared: Arc<dyn WriteAtOnce> = Arc::clone(&self.0) as _;
        DirectWriter::new(Arc::downgrade(&shared))
    }

    /// Writes what the kernel takes at once, without registering a waker.
    pub(super) fn send_at_once(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send_at_once(bytes)
    }

    /// Reads like `TcpStream`, whose `poll_read` needs `&mut`: a read that does not fill the buffer has
    /// emptied the socket, which clears the readiness and spares the next read a system call.
    pub(super) fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = &self.0.socket;
        loop {
            ready!(socket.poll_read_ready(cx))?;
            let mut read = None;
            let asked = buf.remaining();
            let tried = socket.try_io(Interest::READABLE, || {
                // Unlike `read`, this does not need the buffer zeroed before.
                let len = socket.try_read_buf(buf)?;
                read = Some(len);
                // `WouldBlock` makes `try_io` clear the readiness, but not one that was set meanwhile.
                if len > 0 && len < asked { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match (read, tried) {
                (Some(0), _) => return Poll::Ready(self.0.end()),
                (Some(_), _) => return Poll::Ready(Ok(())),
                (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                (None, Err(error)) => return Poll::Ready(Err(self.0.failed_with(error))),
                // Unreachable: without an error something was read. Trying again is harmless.
                (None, Ok(())) => {}
            }
        }
    }

    /// Writes what the kernel takes.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.socket.poll_write_ready(cx))?;
            match self.0.socket.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(self.0.failed_with(error))),
                written => return Poll::Ready(written),
            }
        }
    }

    /// Ends this end's half.
    pub(super) fn send_fin(&self) -> io::Result<()> {
        SockRef::from(&self.0.socket).shutdown(std::net::Shutdown::Write)
    }
}

impl AsyncRead for SharedTcp {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_receive(cx, buf)
    }
}

impl AsyncWrite for SharedTcp {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.send_fin())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::transport::socket::Transport;

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
    async fn the_owner_learns_of_a_reset_that_a_direct_writer_met() {
        for reads in [true, false] {
            let (mut ours, theirs) = pair().await;
            let writer = ours.direct_writer().unwrap();
            SockRef::from(&theirs).set_linger(Some(std::time::Duration::ZERO)).unwrap();
            drop(theirs);
            while ours.kernel().unwrap().state != crate::transport::tcp_info::TcpState::Closed {
                tokio::task::yield_now().await;
            }
            // Twice: only the first is told what happened.
            assert_eq!([(); 2].map(|()| writer.try_write(b"x").taken), [0, 0]);
            let met = match reads {
                true => ours.read(&mut [0; 1]).await,
                false => ours.write(b"x").await,
            };
            assert_eq!(met.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
            assert_eq!(ours.take_error().unwrap().kind(), io::ErrorKind::ConnectionReset);
        }
    }

    #[tokio::test]
    async fn a_reset_behind_fin_is_still_the_end_of_the_stream() {
        let (mut ours, theirs) = pair().await;
        drop(theirs);
        // The first is answered with RST.
        while ours.write(b"x").await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert_eq!(ours.write(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(ours.read(&mut [0; 1]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_direct_writer_writes_and_does_not_keep_the_socket() {
        let (ours, mut theirs) = pair().await;
        let writer = ours.direct_writer().unwrap();
        tokio::task::yield_now().await;
        while writer.try_write(b"hello").taken == 0 {
            tokio::task::yield_now().await;
        }
        let mut buffer = [0; 5];
        theirs.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"hello");
        drop(ours);
        assert_eq!(theirs.read(&mut buffer).await.unwrap(), 0);
        assert_eq!(writer.try_write(b"late"), Written::default());
    }
}
