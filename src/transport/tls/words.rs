//! Sentences for what rustls reports, whose own words are partly the names of its variants.

use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error};

/// Describes an error in a clause: who did what.
pub(super) fn sentence(error: &Error) -> String {
    let clause = match error {
        Error::AlertReceived(description) => {
            return format!("the peer ended TLS with the alert {}", alert(*description));
        }
        Error::InvalidMessage(_) => "the peer sent bytes that are not TLS",
        Error::DecryptError => {
            "a TLS record of the peer could not be decrypted: it was changed on its way, or an end \
             is broken"
        }
        Error::PeerSentOversizedRecord => "the peer sent a TLS record that is too large",
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "the peer sent a TLS message that is not allowed at this point"
        }
        Error::PeerMisbehaved(_) => "the peer broke the rules of TLS",
        Error::PeerIncompatible(_) => "the peer and this end share no TLS",
        Error::InvalidCertificate(_) => "the peer's certificate is not valid",
        Error::NoCertificatesPresented => "the peer showed no certificate",
        Error::NoApplicationProtocol => "the peer refuses HTTP/1.1 (ALPN)",
        Error::FailedToGetCurrentTime => "TLS could not read the clock of this machine",
        Error::FailedToGetRandomBytes => "TLS got no random numbers from this machine",
        _ => "TLS failed on this end",
    };
    clause.to_owned()
}

/// Returns the name of an alert, as RFC 8446 section 6 and RFC 5246 section 7.2 write it.
pub(super) fn alert(description: AlertDescription) -> String {
    let name = match description {
        AlertDescription::CloseNotify => "close_notify",
        AlertDescription::UnexpectedMessage => "unexpected_message",
        AlertDescription::BadRecordMac => "bad_record_mac",
        AlertDescription::RecordOverflow => "record_overflow",
        AlertDescription::HandshakeFailure => "handshake_failure",
        AlertDescription::BadCertificate => "bad_certificate",
        AlertDescription::UnsupportedCertificate => "unsupported_certificate",
        AlertDescription::CertificateRevoked => "certificate_revoked",
        AlertDescription::CertificateExpired => "certificate_expired",
        AlertDescription::CertificateUnknown => "certificate_unknown",
        AlertDescription::IllegalParameter => "illegal_parameter",
        AlertDescription::UnknownCA => "unknown_ca",
        AlertDescription::AccessDenied => "access_denied",
        AlertDescription::DecodeError => "decode_error",
        AlertDescription::DecryptError => "decrypt_error",
        AlertDescription::ProtocolVersion => "protocol_version",
        AlertDescription::InsufficientSecurity => "insufficient_security",
        AlertDescription::InternalError => "internal_error",
        AlertDescription::InappropriateFallback => "inappropriate_fallback",
        AlertDescription::UserCanceled => "user_canceled",
        AlertDescription::NoRenegotiation => "no_renegotiation",
        AlertDescription::MissingExtension => "missing_extension",
        AlertDescription::UnsupportedExtension => "unsupported_extension",
        AlertDescription::UnrecognisedName => "unrecognized_name",
        AlertDescription::UnknownPSKIdentity => "unknown_psk_identity",
        AlertDescription::CertificateRequired => "certificate_required",
        AlertDescription::NoApplicationProtocol => "no_application_protocol",
        other => return u8::from(other).to_string(),
    };
    name.to_owned()
}

/// Whose certificate has a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose<'a> {
    /// That of the server that was dialled by this name.
    Server(&'a str),
    /// A client's.
    Client,
}

impl Whose<'_> {
    fn owner(self) -> &'static str {
        match self {
            Self::Server(_) => "server",
            Self::Client => "client",
        }
    }
}

/// Describes the problem with a certificate, and the remedy.
pub(super) fn certificate(problem: &CertificateError, whose: Whose<'_>) -> String {
    let owner = whose.owner();
    let begin = format!("the {owner}'s certificate");
    match problem {
        CertificateError::ExpiredContext { not_after, .. } => format!(
            "{begin} expired at {}: it must be renewed, unless the clock here is wrong",
            shown(*not_after)
        ),
        CertificateError::Expired => {
            format!("{begin} has expired: it must be renewed, unless the clock here is wrong")
        }
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "{begin} is not valid before {}: correct the clock here, or wait",
            shown(*not_before)
        ),
        CertificateError::NotValidYet => {
            format!("{begin} is not valid yet: correct the clock here, or wait")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
            if let Whose::Server(host) = whose =>
        {
            wrong_name(problem, host)
        }
        CertificateError::UnknownIssuer => match whose {
            Whose::Server(_) => {
                "the server's certificate is self-signed, or signed by an authority that is not \
                 trusted here, or the server does not send the certificates between the two: if it \
                 is the right one, name the authority's PEM file as ca_file"
                    .to_owned()
            }
            Whose::Client => {
                "the client's certificate is not signed by an authority in client_ca, or the client \
                 does not send the certificates between the two: give it another certificate, or \
                 add its authority"
                    .to_owned()
            }
        },
        CertificateError::Revoked => format!("{begin} was revoked: it must be replaced"),
        CertificateError::BadEncoding => format!("{begin} cannot be read: it must be replaced"),
        CertificateError::BadSignature => {
            format!(
                "the signature of {begin} is not that of the authority it names: it was changed, or \
                 that authority has a new key, so it must be reissued"
            )
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => format!(
            "{begin} is signed in a way that TLS here does not take, such as with SHA-1: it must \
             be reissued"
        ),
        CertificateError::UnhandledCriticalExtension => format!(
            "{begin} demands (by a critical extension) what TLS here does not know: it must be \
             reissued without that"
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!(
                "{begin} may not be used by a {owner} (extended key usage): it must be reissued for \
                 {owner}s"
            )
        }
        CertificateError::Other(why) if why.0.to_string() == "CaUsedAsEndEntity" => match whose {
            Whose::Server(_) => {
                "the server's certificate is an authority's (CA:TRUE, as `openssl req -x509` makes \
                 it): if it is the right one, name its PEM file as ca_file; else have one issued \
                 for a server"
                    .to_owned()
            }
            Whose::Client => {
                "the client's certificate is an authority's (CA:TRUE, as `openssl req -x509` makes \
                 it): have one issued for a client"
                    .to_owned()
            }
        },
        _ => format!(
            "{begin} breaks a rule of X.509 that TLS here insists on: it must be reissued"
        ),
    }
}

fn wrong_name(problem: &CertificateError, host: &str) -> String {
    match problem {
        CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
            format!(
                "the server's certificate is for {}, not for {host}: dial a name it has, or have it \
                 reissued",
                presented.join(", ")
            )
        }
        _ => format!(
            "the server's certificate is not for {host}: dial a name it has, or have it reissued with \
             {host} as a subject alternative name (a common name does not count)"
        ),
    }
}

fn shown(time: UnixTime) -> String {
    match UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs())) {
        Some(time) => humantime::format_rfc3339_seconds(time).to_string(),
        None => "an unknown time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_has_single_spaces() {
        for problem in [CertificateError::UnknownIssuer, CertificateError::Expired] {
            for whose in [Whose::Server("app.example"), Whose::Client] {
                let sentence = certificate(&problem, whose);
                assert!(!sentence.contains("  "), "{sentence}");
            }
        }
    }
}
