//! What a TLS handshake comes to, in both roles; also without the feature `tls`.

use http::StatusCode;
use tokio::net::TcpStream;

use super::TlsSocket;
use crate::transport::opening_handshake::Refusal;
use crate::vocabulary::{OpenFailure, TransportEnd};

/// A failed TLS handshake with a dialled server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct FailedTls {
    /// One sentence for people: the problem and the remedy.
    pub detail: String,
    /// How the transport ended.
    pub transport_end: TransportEnd,
}

/// A client with TLS.
#[derive(Debug)]
pub struct OpenedTls {
    /// The socket.
    pub socket: TlsSocket,
    /// The TLS version, as it is recorded.
    pub version: &'static str,
    /// Who the client's certificate was issued to, if it showed one.
    pub subject: Option<String>,
}

/// Why there is no TLS with a client.
#[derive(Debug)]
pub enum FailedAccept {
    /// The client sends plain HTTP, none of which was read yet.
    PlainHttp(TcpStream),
    /// The handshake failed.
    Failed {
        /// The failure to record.
        failure: OpenFailure,
        /// One sentence for people.
        detail: String,
        /// How the transport ended.
        transport_end: TransportEnd,
    },
}

/// Refuses plain HTTP on a port with TLS: [`FailedAccept::PlainHttp`].
pub fn not_tls() -> Refusal {
    let text = "this port speaks TLS, and this is plain HTTP: use wss:// instead of ws://, or \
                https:// instead of http://";
    Refusal::new(StatusCode::BAD_REQUEST, OpenFailure::Tls, text)
}
