//! Messages for TLS failures of dials that name the remedy.

use std::io;

use rustls::{AlertDescription, Error};

use super::handshake::Broken;
use super::outcome::FailedTls;
use super::words::{self, Whose, alert};
use crate::protocol::classification::LossKind;
use crate::vocabulary::TransportEnd;

impl FailedTls {
    pub(super) fn no_name(host: &str) -> Self {
        let detail = format!("{host} is neither a host name nor an address: TLS cannot check it");
        Self { detail, transport_end: TransportEnd::Local }
    }

    pub(super) fn of(broken: &Broken, host: &str) -> Self {
        let (what, transport_end) = match broken {
            Broken::Tls(error) => {
                let detail = describe(error, host);
                return Self { detail, transport_end: TransportEnd::Local };
            }
            Broken::Ended => ("the server ended TCP".to_owned(), TransportEnd::Fin),
            Broken::Io(error) => of_tcp(error),
        };
        let detail = format!(
            "{what} in the middle of the TLS handshake: see whether it speaks TLS on this port"
        );
        Self { detail, transport_end }
    }
}

/// Describes how TCP failed, and how it ended.
pub(super) fn of_tcp(error: &io::Error) -> (String, TransportEnd) {
    let lost = LossKind::from(error);
    (lost.to_string(), lost.transport_end())
}

fn describe(error: &Error, host: &str) -> String {
    match error {
        Error::InvalidCertificate(problem) => words::certificate(problem, Whose::Server(host)),
        Error::InvalidMessage(_) => {
            "the server does not speak TLS on this port: dial ws://, or another port".to_owned()
        }
        Error::NoApplicationProtocol
        | Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "the server refuses HTTP/1.1 (ALPN), which WebSocket needs: dial another address"
                .to_owned()
        }
        Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            format!("the server serves no {host} (alert unrecognized_name): dial another name")
        }
        Error::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::BadCertificate,
        ) => "the server demands a client certificate, and dials have none: dial another address"
            .to_owned(),
        Error::AlertReceived(
            AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion,
        )
        | Error::PeerIncompatible(_) => {
            let how = match error {
                Error::AlertReceived(description) => format!(" (alert {})", alert(*description)),
                _ => String::new(),
            };
            format!("the server and this end share no TLS{how}: it must speak TLS 1.2 or 1.3")
        }
        other => format!("{}: see the log of the server", words::sentence(other)),
    }
}
