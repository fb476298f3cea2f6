//! Messages for TLS failures that name the remedy.

use std::io;
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error};

use crate::protocol::classification::LossKind;
use crate::vocabulary::TransportEnd;

/// A failed TLS handshake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct FailedTls {
    /// One sentence for people: the problem and the remedy.
    pub detail: String,
    /// How the transport ended.
    pub transport_end: TransportEnd,
}

impl FailedTls {
    pub(super) fn no_name(host: &str) -> Self {
        let detail = format!("{host} is neither a host name nor an address: TLS cannot check it");
        Self { detail, transport_end: TransportEnd::Local }
    }

    pub(super) fn of(error: &io::Error, host: &str) -> Self {
        if let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
            let detail = describe(error, host);
            return Self { detail, transport_end: TransportEnd::Local };
        }
        let (what, transport_end) = match LossKind::from(error) {
            // Before TLS is established, a truncation cannot be distinguished from a normal end.
            LossKind::TlsTruncated => ("the server ended TCP".to_owned(), TransportEnd::Fin),
            lost => (lost.to_string(), lost.transport_end()),
        };
        let detail = format!(
            "{what} in the middle of the TLS handshake: see whether it speaks TLS on this port"
        );
        Self { detail, transport_end }
    }
}

fn describe(error: &Error, host: &str) -> String {
    match error {
        Error::InvalidCertificate(problem) => describe_certificate(problem, host),
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
            AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion,
        )
        | Error::PeerIncompatible(_) => {
            format!("the server and this end share no TLS ({error}): it must speak TLS 1.2 or 1.3")
        }
        other => format!("TLS failed: {other}"),
    }
}

fn describe_certificate(problem: &CertificateError, host: &str) -> String {
    match problem {
        CertificateError::ExpiredContext { not_after, .. } => format!(
            "the server's certificate expired at {}: it must be renewed, unless the clock here is \
             wrong",
            shown(*not_after)
        ),
        CertificateError::Expired => {
            "the server's certificate has expired: it must be renewed, unless the clock here is \
             wrong"
                .to_owned()
        }
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "the server's certificate is not valid before {}: correct the clock here, or wait",
            shown(*not_before)
        ),
        CertificateError::NotValidYet => {
            "the server's certificate is not valid yet: correct the clock here, or wait".to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
            format!(
                "the server's certificate is for {}, not for {host}: dial a name it has, or have \
                 it reissued",
                presented.join(", ")
            )
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!(
                "the server's certificate is not for {host}: dial a name it has, or have it reissued"
            )
        }
        CertificateError::UnknownIssuer => {
            "the server's certificate is self-signed, or signed by an authority that is not \
             trusted here: if it is the right one, name the authority's PEM file as ca_file"
                .to_owned()
        }
        CertificateError::Revoked => {
            "the server's certificate was revoked: it must be replaced".to_owned()
        }
        CertificateError::BadEncoding => {
            "the server's certificate cannot be read: it must be replaced".to_owned()
        }
        CertificateError::BadSignature => {
            "the signature of the server's certificate is wrong: it must be replaced".to_owned()
        }
        CertificateError::UnhandledCriticalExtension => {
            "the server's certificate demands (by a critical extension) what TLS here does not \
             know: it must be reissued without that"
                .to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the server's certificate may not be used by a server (extended key usage): it must be \
             reissued for servers"
                .to_owned()
        }
        CertificateError::Other(why) if why.0.to_string() == "CaUsedAsEndEntity" => {
            "the server's certificate is an authority's (CA:TRUE, as `openssl req -x509` makes it): \
             if it is the right one, name its PEM file as ca_file; else have one issued for a server"
                .to_owned()
        }
        _ => "the server's certificate breaks a rule of X.509 that TLS here insists on: it must be \
              reissued"
            .to_owned(),
    }
}

/// Describes the problem with a certificate in one of our own files.
pub(super) fn sentence(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::BadEncoding) => {
            "a CERTIFICATE section cannot be read".to_owned()
        }
        other => other.to_string(),
    }
}

fn shown(time: UnixTime) -> String {
    match UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs())) {
        Some(time) => humantime::format_rfc3339_seconds(time).to_string(),
        None => "an unknown time".to_owned(),
    }
}
