//! A TCP socket with TLS, which its owner reads and writes, and which other tasks may write to.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::session::Session;
use crate::protocol::classification::LossKind;
use crate::transport::direct_writer::{DirectWriter, WriteAtOnce, Written};
use crate::transport::shared_tcp::SharedTcp;
use crate::transport::socket::Transport;
use crate::transport::tcp_info::KernelFacts;

/// The overhead of a record: header, content type and tag; in TLS 1.2 header, nonce and tag.
const RECORD_OVERHEAD: u64 = 5 + 1 + 16;
const RECORD_OVERHEAD_1_2: u64 = 5 + 8 + 16;

/// A TCP socket with TLS.
///
/// Dropping it sends close_notify and closes TCP, unless it is to be reset.
#[derive(Debug)]
pub struct TlsSocket(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    tcp: SharedTcp,
    /// Locked for one read or write at a time. A direct writer takes it under the lock of the outbox,
    /// and nothing that is done under this lock takes another.
    session: Mutex<Session>,
    resets: AtomicBool,
}

impl TlsSocket {
    /// Makes one of a session whose handshake is complete.
    pub(super) fn new(tcp: SharedTcp, session: Session) -> Self {
        let (session, resets) = (Mutex::new(session), AtomicBool::new(false));
        Self(Arc::new(Shared { tcp, session, resets }))
    }

    /// Returns the negotiated TLS version, as it is recorded.
    pub fn version(&self) -> &'static str {
        if self.0.session.lock().is_tls12() { "TLSv1.2" } else { "TLSv1.3" }
    }

    /// Returns this end's address.
    ///
    /// # Errors
    /// As getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.tcp.socket().local_addr()
    }

    /// Writes a short answer that fits into the buffer of the socket.
    pub fn answer_at_once(&self, answer: &[u8]) {
        self.0.write_at_once(answer);
    }
}

impl Transport for TlsSocket {
    fn reset_on_drop(&mut self) {
        self.0.resets.store(true, Ordering::Relaxed);
        // It fails only on a socket that has nothing left to reset.
        let _ = self.0.tcp.socket().set_zero_linger();
    }

    fn kernel(&self) -> Option<KernelFacts> {
        self.0.tcp.kernel()
    }

    fn take_error(&self) -> Option<io::Error> {
        self.0.tcp.take_error()
    }

    fn unread_loss(&self) -> Option<LossKind> {
        self.0.tcp.unread_loss()
    }

    fn direct_writer(&self) -> Option<DirectWriter> {
        let shared: Arc<dyn WriteAtOnce> = Arc::clone(&self.0) as _;
        Some(DirectWriter::new(Arc::downgrade(&shared)))
    }

    fn overhead(&self) -> u64 {
        if self.0.session.lock().is_tls12() { RECORD_OVERHEAD_1_2 } else { RECORD_OVERHEAD }
    }
}

impl WriteAtOnce for Shared {
    fn write_at_once(&self, bytes: &[u8]) -> Written {
        let mut session = self.session.lock();
        let taken = session.write_at_once(&self.tcp, bytes);
        Written { taken, held_back: taken > 0 && session.holds_back() }
    }
}

impl AsyncRead for TlsSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.session.lock().poll_read(&self.0.tcp, cx, buf)
    }
}

impl AsyncWrite for TlsSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.session.lock().poll_write(&self.0.tcp, cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.session.lock().poll_flush(&self.0.tcp, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut session = self.0.session.lock();
        session.end();
        ready!(session.poll_flush(&self.0.tcp, cx))?;
        Poll::Ready(self.0.tcp.send_fin())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if *self.resets.get_mut() {
            return;
        }
        let session = self.session.get_mut();
        session.end();
        // Only what the kernel takes at once, because drop cannot wait.
        let _ = session.send_at_once(&self.tcp);
    }
}
