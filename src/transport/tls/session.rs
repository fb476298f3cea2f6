//! A TLS session and the TCP socket under it: ciphertext on one side, plaintext on the other.
//!
//! rustls does the cryptography and keeps what is incomplete; this module moves bytes. Ciphertext is
//! read into a buffer that the connections of a thread share, so an idle session holds little.

use std::error::Error as StdError;
use std::io::{self, Read, Write};
use std::task::{Context, Poll, ready};

use rustls::{Connection, Error, ProtocolVersion};
use tokio::io::ReadBuf;

use super::read_size::{self, ReadSize};
use super::words;
use crate::runtime;
use crate::runtime::scratch::Scratch;
use crate::transport::shared_tcp::SharedTcp;

/// The most plaintext that is encrypted at a time: one record (RFC 8446 section 5.1). The next is
/// encrypted only once the kernel has taken the last, so that the outbox knows how much is queued.
const RECORD: usize = 16 * 1024;

/// During the handshake no more than this is read at a time: rustls keeps the plaintext that follows the
/// handshake, and no more of it than 16 KiB.
const HANDSHAKE_READ: usize = 8 * 1024;

/// The size up to which rustls lets its receive buffer grow for every read.
const SMALL_READ: usize = 4096;

thread_local! {
    static SCRATCH: Scratch = Scratch::new(read_size::MOST);
}

/// A TLS session.
#[derive(Debug)]
pub(super) struct Session {
    tls: Connection,
    /// Why TLS failed. It is told once the plaintext before it was read.
    broken: Option<Error>,
    /// The receive buffer of rustls is larger than it needs to be while nothing comes.
    is_bloated: bool,
    read_size: ReadSize,
}

/// What became of a read of ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// Bytes came.
    Bytes,
    /// The peer has ended TCP.
    End,
}

impl Session {
    pub(super) fn new(tls: Connection) -> Self {
        Self { tls, broken: None, is_bloated: false, read_size: ReadSize::new() }
    }

    pub(super) fn tls(&self) -> &Connection {
        &self.tls
    }

    pub(super) fn is_tls12(&self) -> bool {
        self.tls.protocol_version() == Some(ProtocolVersion::TLSv1_2)
    }

    /// Returns whether ciphertext waits to be written.
    pub(super) fn holds_back(&self) -> bool {
        self.tls.wants_write()
    }

    /// Reads plaintext. It returns at once what was decrypted, and reads ciphertext only if that is
    /// nothing. The end of TLS is the end of the stream, with [`io::ErrorKind::UnexpectedEof`] if
    /// there was no close_notify.
    pub(super) fn poll_read(
        &mut self,
        tcp: &SharedTcp,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let before = buf.filled().len();
            let drained = self.drain(buf);
            if buf.filled().len() > before {
                // An end or an error is told by the next read.
                return Poll::Ready(Ok(()));
            }
            if drained? {
                return Poll::Ready(Ok(()));
            }
            // Plaintext is shorter than its ciphertext, so that it fits, but for a record that was
            // begun before.
            let most = buf.remaining().min(self.read_size.most());
            let began = runtime::now();
            match self.poll_receive(tcp, cx, most, |session| drop(session.drain(buf))) {
                Poll::Pending => {
                    self.shrink();
                    return Poll::Pending;
                }
                Poll::Ready(received) => received?,
            };
            let was_long = self.read_size.adapt(runtime::now().saturating_duration_since(began));
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            if was_long {
                // Others have their turn, however many records without plaintext follow.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    /// Reads ciphertext during the handshake, and processes it. An error of TLS is kept in the
    /// [`io::Error`].
    pub(super) fn poll_handshake_read(
        &mut self,
        tcp: &SharedTcp,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Received>> {
        let received = ready!(self.poll_receive(tcp, cx, HANDSHAKE_READ, |_| {}))?;
        match &self.broken {
            None => Poll::Ready(Ok(received)),
            Some(error) => Poll::Ready(Err(invalid(error.clone()))),
        }
    }

    /// Reads at most so many bytes of ciphertext, and decrypts them; `drain` is called each time that
    /// there may be plaintext.
    fn poll_receive(
        &mut self,
        tcp: &SharedTcp,
        cx: &mut Context<'_>,
        most: usize,
        mut drain: impl FnMut(&mut Self),
    ) -> Poll<io::Result<Received>> {
        Scratch::lend(&SCRATCH, |buffer| {
            let most = most.min(buffer.len());
            let mut read = ReadBuf::new(&mut buffer[..most]);
            ready!(tcp.poll_receive(cx, &mut read))?;
            let mut ciphertext = read.filled();
            let received = match ciphertext.len() {
                0 => {
                    // rustls notes the end.
                    self.tls.read_tls(&mut io::empty())?;
                    Received::End
                }
                _ => Received::Bytes,
            };
            self.is_bloated |= ciphertext.len() > SMALL_READ;
            // After close_notify, rustls takes no more.
            while !ciphertext.is_empty() && self.tls.read_tls(&mut ciphertext)? > 0 {
                if let Err(error) = self.tls.process_new_packets() {
                    // rustls has queued an alert, which tells the peer why.
                    let _ = self.send_at_once(tcp);
                    self.broken = Some(error);
                    break;
                }
                drain(self);
            }
            Poll::Ready(Ok(received))
        })
    }

    /// Moves decrypted bytes to `buf`; returns whether the stream has ended.
    fn drain(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        while buf.remaining() > 0 {
            match self.tls.reader().read(buf.initialize_unfilled()) {
                Ok(0) => return Ok(true),
                Ok(len) => buf.advance(len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return match &self.broken {
                        None => Ok(false),
                        Some(error) => Err(invalid(words::sentence(error))),
                    };
                }
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Gives back the memory of the receive buffer; rustls does so at the beginning of a read.
    fn shrink(&mut self) {
        struct Nothing;
        impl Read for Nothing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
        if std::mem::take(&mut self.is_bloated) {
            let _ = self.tls.read_tls(&mut Nothing);
        }
    }

    /// Encrypts and writes, one record after the other, as long as the kernel takes all of each.
    pub(super) fn poll_write(
        &mut self,
        tcp: &SharedTcp,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut taken = 0;
        loop {
            match self.poll_flush(tcp, cx) {
                // Part of the last record may still be held back.
                _ if taken == bytes.len() => return Poll::Ready(Ok(taken)),
                Poll::Ready(Ok(())) => taken += self.encrypt(&bytes[taken..])?,
                _ if taken > 0 => return Poll::Ready(Ok(taken)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Does the same beside the owner: it writes nothing while something is held back.
    pub(super) fn write_at_once(&mut self, tcp: &SharedTcp, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() && !self.holds_back() {
            match self.encrypt(&bytes[taken..]) {
                Ok(len @ 1..) => taken += len,
                Ok(0) | Err(_) => break,
            }
            // The owner meets the error as well.
            let _ = self.send_at_once(tcp);
        }
        taken
    }

    /// Encrypts one record.
    fn encrypt(&mut self, plaintext: &[u8]) -> io::Result<usize> {
        self.tls.writer().write(&plaintext[..plaintext.len().min(RECORD)])
    }

    /// Writes the ciphertext that waits.
    pub(super) fn poll_flush(
        &mut self,
        tcp: &SharedTcp,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let send = |bytes: &[u8]| match tcp.poll_send(cx, bytes) {
            Poll::Ready(sent) => sent,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        };
        match self.send(send) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            sent => Poll::Ready(sent),
        }
    }

    /// Writes as much of the ciphertext that waits as the kernel takes at once.
    pub(super) fn send_at_once(&mut self, tcp: &SharedTcp) -> io::Result<()> {
        self.send(|bytes| tcp.send_at_once(bytes))
    }

    fn send(&mut self, send: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        let mut sink = Sink(send);
        while self.tls.wants_write() {
            self.tls.write_tls(&mut sink)?;
        }
        Ok(())
    }

    /// Queues close_notify, once.
    pub(super) fn end(&mut self) {
        self.tls.send_close_notify();
    }
}

fn invalid(why: impl Into<Box<dyn StdError + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Writes with a closure.
struct Sink<F>(F);

impl<F: FnMut(&[u8]) -> io::Result<usize>> Write for Sink<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0)(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
