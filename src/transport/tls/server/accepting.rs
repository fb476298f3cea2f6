//! The TLS handshake with a client, and what is said when it fails.

use rustls::{AlertDescription, Error, PeerIncompatible, ServerConnection};
use tokio::net::TcpStream;

use super::ServerTls;
use crate::protocol::proxy_header::{NOT_TAKEN, begins_header};
use crate::transport::opening_handshake::lingering_close;
use crate::transport::shared_tcp::SharedTcp;
use crate::transport::tls::failure::of_tcp;
use crate::transport::tls::handshake::{Broken, Handshake};
use crate::transport::tls::outcome::{FailedAccept, OpenedTls};
use crate::transport::tls::words::{self, Whose, alert};
use crate::transport::tls::x509;
use crate::vocabulary::{LONGEST_TAG, OpenFailure, TransportEnd, is_label};

/// How many bytes are looked at before TLS begins.
const LOOK: usize = 8;

impl ServerTls {
    /// A TLS alert (internal_error) for a client that cannot be served, which needs no handshake.
    pub const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

    /// Completes the TLS handshake with a client. The caller bounds the time.
    ///
    /// # Errors
    /// [`FailedAccept`]. A client whose handshake is at fault was sent an alert, and had time to read it.
    /// One that does not speak TLS was sent nothing: plain HTTP is still to be answered.
    ///
    /// # Cancel safety
    /// Dropping the future drops the socket.
    pub async fn accept(&self, socket: TcpStream) -> Result<OpenedTls, FailedAccept> {
        let mut first = [0; LOOK];
        let seen = match socket.peek(&mut first).await {
            Ok(seen) => &first[..seen],
            Err(error) => {
                let (how, transport_end) = of_tcp(&error);
                let detail = format!("the connection ended before TLS began: {how}");
                return Err(gone(detail, transport_end));
            }
        };
        match Opening::of(seen) {
            Opening::Tls => {}
            Opening::Http => return Err(FailedAccept::PlainHttp(socket)),
            Opening::Proxy => {
                let (detail, failure) = (NOT_TAKEN.to_owned(), OpenFailure::UntrustedProxy);
                let transport_end = TransportEnd::Local;
                return Err(FailedAccept::Failed { failure, detail, transport_end });
            }
            Opening::Nothing => {
                let detail = "the peer closed the connection without sending anything";
                return Err(gone(detail.to_owned(), TransportEnd::Fin));
            }
        }
        let tls = ServerConnection::new(self.config()).map_err(|error| {
            let detail = words::sentence(&error);
            failed(detail, TransportEnd::Local)
        })?;
        let mut handshake = Handshake::new(SharedTcp::from(socket), tls.into());
        match handshake.complete().await {
            Ok(()) => opened(handshake),
            Err(Broken::Tls(error)) => {
                let transport_end = lingering_close(handshake.into_tcp()).await;
                Err(failed(describe(&error), transport_end))
            }
            Err(Broken::Ended) => Err(failed(
                "the client ended TCP in the middle of the TLS handshake: it may not trust the \
                 certificate"
                    .to_owned(),
                TransportEnd::Fin,
            )),
            Err(Broken::Io(error)) => {
                let (how, transport_end) = of_tcp(&error);
                let detail = format!("{how} in the middle of the TLS handshake");
                Err(failed(detail, transport_end))
            }
        }
    }
}

fn opened(handshake: Handshake) -> Result<OpenedTls, FailedAccept> {
    let shown = handshake.tls().peer_certificates().and_then(|chain| chain.first());
    let subject = shown.and_then(|certificate| x509::subject(certificate));
    if subject.as_deref().is_some_and(|subject| subject.is_empty() || !is_label(subject)) {
        // Without it, the client would be hidden from selectors by subject.
        let detail = format!(
            "the name in the client's certificate cannot be recorded: use 1 to {LONGEST_TAG} \
             printable bytes"
        );
        return Err(failed(detail, TransportEnd::Local));
    }
    let socket = handshake.into_socket();
    Ok(OpenedTls { version: socket.version(), socket, subject })
}

fn failed(detail: String, transport_end: TransportEnd) -> FailedAccept {
    FailedAccept::Failed { failure: OpenFailure::Tls, detail, transport_end }
}

fn gone(detail: String, transport_end: TransportEnd) -> FailedAccept {
    FailedAccept::Failed { failure: OpenFailure::PeerGone, detail, transport_end }
}

/// What the first bytes of a client are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    Nothing,
    Http,
    Proxy,
    /// TLS, or nothing that is known; rustls answers that with an alert.
    Tls,
}

impl Opening {
    fn of(first: &[u8]) -> Self {
        match first {
            [] => Self::Nothing,
            first if begins_header(first) => Self::Proxy,
            // A TLS record begins with its type (22), a method with a letter.
            [b'A'..=b'Z', ..] => Self::Http,
            _ => Self::Tls,
        }
    }
}

/// Describes why TLS with a client failed: who did what, and the remedy.
fn describe(error: &Error) -> String {
    let clause = match error {
        Error::InvalidCertificate(problem) => return words::certificate(problem, Whose::Client),
        Error::InvalidMessage(_) => {
            "the client does not speak TLS, which this port does: use wss://, or another port"
        }
        Error::NoCertificatesPresented => {
            "the client showed no certificate, and client_auth demands one: give it one that an \
             authority in client_ca has signed"
        }
        Error::NoApplicationProtocol => {
            "the client does not offer HTTP/1.1 (ALPN), which WebSocket needs: let it offer http/1.1"
        }
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired
            // Only what is older leaves these out.
            | PeerIncompatible::NamedGroupsExtensionRequired
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | PeerIncompatible::EcPointsExtensionRequired,
        ) => {
            "the client offers no version of TLS that this listener takes: it must speak TLS 1.2 or \
             1.3, or min_version must be lower"
        }
        Error::PeerIncompatible(_) => {
            "the client and this listener share no cipher suite, group or signature scheme: update \
             the client, or give the listener a certificate with another kind of key"
        }
        Error::AlertReceived(
            description @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::CertificateExpired
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked),
        ) => {
            return format!(
                "the client does not accept this listener's certificate (alert {}): check its names, \
                 its expiry and its chain, and what the client trusts",
                alert(*description)
            );
        }
        other => return format!("{}: see the log of the client", words::sentence(other)),
    };
    clause.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_and_the_proxy_protocol_are_told_from_tls() {
        for (first, opening) in [
            (&b""[..], Opening::Nothing),
            (b"G", Opening::Http),
            (b"GET / HT", Opening::Http),
            (b"POST /x ", Opening::Http),
            (b"PRI * HT", Opening::Http),
            (b"PROXY TC", Opening::Proxy),
            (b"\r\n\r\n\0\r\nQ", Opening::Proxy),
            (b"\x16\x03\x01\x02", Opening::Tls),
            (b"\x80\x2e", Opening::Tls),
            (b"\0\0\0\0", Opening::Tls),
        ] {
            assert_eq!(Opening::of(first), opening, "{first:?}");
        }
    }
}
