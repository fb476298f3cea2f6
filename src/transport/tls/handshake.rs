//! The TLS handshake, in either role.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use rustls::{Connection, Error};

use super::session::{Received, Session};
use super::socket::TlsSocket;
use crate::transport::shared_tcp::SharedTcp;

/// A TLS handshake under way. Dropping it drops the socket.
pub(super) struct Handshake {
    tcp: SharedTcp,
    session: Session,
}

/// Why a handshake failed.
#[derive(Debug)]
pub(super) enum Broken {
    /// TLS failed; the peer was sent an alert.
    Tls(Error),
    /// The peer ended TCP.
    Ended,
    /// TCP failed.
    Io(io::Error),
}

impl Handshake {
    pub(super) fn new(tcp: SharedTcp, tls: Connection) -> Self {
        Self { tcp, session: Session::new(tls) }
    }

    /// Returns the session.
    pub(super) fn tls(&self) -> &Connection {
        self.session.tls()
    }

    /// Completes the handshake.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn complete(&mut self) -> Result<(), Broken> {
        poll_fn(|cx| self.poll_complete(cx)).await
    }

    fn poll_complete(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            // The last messages as well, such as session tickets.
            ready!(self.session.poll_flush(&self.tcp, cx)).map_err(Broken::of)?;
            if !self.session.tls().is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            match ready!(self.session.poll_handshake_read(&self.tcp, cx)) {
                Ok(Received::Bytes) => {}
                Ok(Received::End) => return Poll::Ready(Err(Broken::Ended)),
                Err(error) => return Poll::Ready(Err(Broken::of(error))),
            }
        }
    }

    /// Returns the socket, with TLS if the handshake is complete.
    pub(super) fn into_socket(self) -> TlsSocket {
        TlsSocket::new(self.tcp, self.session)
    }

    /// Returns the socket without TLS.
    pub(super) fn into_tcp(self) -> SharedTcp {
        self.tcp
    }
}

impl Broken {
    fn of(error: io::Error) -> Self {
        match error.downcast::<Error>() {
            Ok(error) => Self::Tls(error),
            Err(error) => Self::Io(error),
        }
    }
}
